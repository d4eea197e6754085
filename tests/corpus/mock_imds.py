#!/usr/bin/env python3
"""Mock metadata services of several clouds. Usage: mock_imds.py LOG CTL.json
Every request is logged exactly as it was received (truth for the labels). All secrets are fake."""

import asyncio, json, sys, time, re, gzip, base64, posixpath, os
from urllib.parse import unquote, urlsplit, parse_qs
from email.utils import formatdate

LOGP, CTLP = sys.argv[1], sys.argv[2]
ROLE = "demo-web-role"
ADMIN = "azureuser"


def ctl():
    try:
        return json.load(open(CTLP))
    except Exception:
        return {}


def iso(t):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(t))


def b64u(b):
    return base64.urlsafe_b64encode(b).rstrip(b"=").decode()


STS_TOKEN = "IQoJb3JpZ2luX2VjEXAMPLE" + "FAKEFAKEFAKEexample/" * 40 + "=="


def awscreds():
    n = time.time()
    return {
        "Code": "Success",
        "LastUpdated": iso(n - 600),
        "Type": "AWS-HMAC",
        "AccessKeyId": "ASIAEXAMPLE000DEMO01",
        "SecretAccessKey": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "Token": STS_TOKEN,
        "Expiration": iso(n + 21000),
    }


def pretty(o):
    return json.dumps(o, indent=2).replace(": ", " : ").encode()


def fakejwt(claims):
    return (
        b64u(b'{"typ":"JWT","alg":"RS256","kid":"EXAMPLE"}') + "." + b64u(json.dumps(claims).encode()) + "." + "EXAMPLEFAKESIGNATURE" * 12
    )


IDDOC = {
    "accountId": "123456789012",
    "architecture": "x86_64",
    "availabilityZone": "us-east-1a",
    "billingProducts": None,
    "devpayProductCodes": None,
    "marketplaceProductCodes": None,
    "imageId": "ami-0example1234567",
    "instanceId": "i-0123456789example",
    "instanceType": "t3.medium",
    "kernelId": None,
    "pendingTime": "2024-05-01T10:00:00Z",
    "privateIp": "10.20.0.10",
    "ramdiskId": None,
    "region": "us-east-1",
    "version": "2017-09-30",
}
USERDATA = "#!/bin/bash\n# EXAMPLE user-data (fake)\nexport DB_PASSWORD=example-not-a-secret\nyum -y install httpd\n"
AWS = {
    "ami-id": "ami-0example1234567",
    "ami-launch-index": "0",
    "ami-manifest-path": "(unknown)",
    "hostname": "ip-10-20-0-10.ec2.internal",
    "instance-action": "none",
    "instance-id": "i-0123456789example",
    "instance-life-cycle": "on-demand",
    "instance-type": "t3.medium",
    "local-hostname": "ip-10-20-0-10.ec2.internal",
    "local-ipv4": "10.20.0.10",
    "mac": "02:00:00:00:00:10",
    "profile": "default-hvm",
    "public-hostname": "ec2-203-0-113-10.compute-1.amazonaws.com",
    "public-ipv4": "203.0.113.10",
    "reservation-id": "r-0123456789example",
    "security-groups": "web-sg",
    "placement": {"availability-zone": "us-east-1a", "availability-zone-id": "use1-az1", "region": "us-east-1"},
    "block-device-mapping": {"ami": "/dev/xvda", "root": "/dev/xvda"},
    "services": {"domain": "amazonaws.com", "partition": "aws"},
    "public-keys": {"0": {"openssh-key": "ssh-rsa AAAAEXAMPLEKEY demo-key"}},
    "network": {
        "interfaces": {
            "macs": {
                "02:00:00:00:00:10": {
                    "device-number": "0",
                    "interface-id": "eni-0example",
                    "local-hostname": "ip-10-20-0-10.ec2.internal",
                    "local-ipv4s": "10.20.0.10",
                    "mac": "02:00:00:00:00:10",
                    "owner-id": "123456789012",
                    "security-group-ids": "sg-0example",
                    "security-groups": "web-sg",
                    "subnet-id": "subnet-0example",
                    "subnet-ipv4-cidr-block": "10.20.0.0/24",
                    "vpc-id": "vpc-0example",
                    "vpc-ipv4-cidr-block": "10.20.0.0/16",
                    "vpc-ipv4-cidr-blocks": "10.20.0.0/16",
                }
            }
        }
    },
    "iam": {
        "info": json.dumps(
            {
                "Code": "Success",
                "LastUpdated": "2024-05-01T10:00:00Z",
                "InstanceProfileArn": "arn:aws:iam::123456789012:instance-profile/demo-web-role",
                "InstanceProfileId": "AIPAEXAMPLE0000DEMO01",
            },
            indent=2,
        ),
        "security-credentials": {ROLE: "@creds"},
    },
    "identity-credentials": {
        "ec2": {
            "info": json.dumps({"Code": "Success", "LastUpdated": "2024-05-01T10:00:00Z", "AccountId": "123456789012"}),
            "security-credentials": {"ec2-instance": "@creds"},
        }
    },
    "tags": {"instance": {"Name": "demo-web"}},
}
AWS_TREE_DYN = {
    "instance-identity": {
        "document": json.dumps(IDDOC, indent=2),
        "pkcs7": "MIAGCSqGSIb3DQEHAqCAMIACAQEEXAMPLE",
        "signature": "EXAMPLESIGNATURE==",
        "rsa2048": "MIAGCSqGSIb3DQEHAqCAEXAMPLE",
    }
}


def walk(tree, parts):
    for p in parts:
        if isinstance(tree, dict) and p in tree:
            tree = tree[p]
        elif isinstance(tree, dict) and re.match(r"^\d+=", p) and p.split("=")[0] in tree:
            tree = tree[p.split("=")[0]]
        else:
            return None
    return tree


def listing(d):
    out = []
    for k, v in d.items():
        if k == "0" and isinstance(v, dict):
            out.append("0=demo-key")
        else:
            out.append(k + ("/" if isinstance(v, dict) and v is not None else ""))
    return "\n".join(out).encode()


DATES = "1.0 2007-01-19 2007-03-01 2007-08-29 2007-10-10 2007-12-15 2008-02-01 2008-09-01 2009-04-04 2011-01-01 2011-05-01 2012-01-12 2014-02-25 2014-11-05 2015-10-20 2016-04-19 2016-06-30 2016-09-02 2018-03-28 2018-08-17 2018-09-24 2019-10-01 2020-10-27 2021-01-03 2021-03-23 2021-07-15 2022-09-24 2024-04-11 latest".split()
TOKENS = set()


def normalize(target):
    p = target
    if re.match(r"^[a-zA-Z][a-zA-Z0-9+.-]*://", p):
        p = urlsplit(p).path or "/"
    p = p.split("?", 1)[0].split("#", 1)[0]
    p = unquote(p)
    p = re.sub(r"/+", "/", p)
    if not p.startswith("/"):
        return p
    n = posixpath.normpath(p)
    return n if n.startswith("/") else "/" + n


class R:  # response
    def __init__(s, status, body=b"", ctype="text/plain", headers=None, prov=None, sens="discovery", kind=None, close=False):
        s.status, s.body, s.ctype, s.headers, s.prov, s.sens, s.kind, s.close = (
            status,
            (body if isinstance(body, bytes) else body.encode()),
            ctype,
            headers or [],
            prov,
            sens,
            kind,
            close,
        )


def html_err(code, txt):
    return (
        '<?xml version="1.0" encoding="iso-8859-1"?>\n<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN"\n\t"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">\n<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">\n <head>\n  <title>%d - %s</title>\n </head>\n <body>\n  <h1>%d - %s</h1>\n </body>\n</html>\n'
        % (code, txt, code, txt)
    ).encode()


def aws(method, np, h, raw, c):
    base = [("Server", "EC2ws")]
    close = not c.get("keepalive")

    def r(st, body=b"", ct="text/plain", sens="discovery", kind=None, extra=()):
        return R(st, body, ct, base + list(extra), "aws", sens, kind, close)

    tok = h.get("x-aws-ec2-metadata-token")
    if np == "/latest/api/token":
        if method == "PUT":
            ttl = h.get("x-aws-ec2-metadata-token-ttl-seconds")
            if "x-forwarded-for" in h or c.get("v2_disabled"):
                return r(403, html_err(403, "Forbidden"), "text/html", sens="token")
            if not ttl:
                return r(400, html_err(400, "Bad Request"), "text/html", sens="token")
            t = "AQAEAEXAMPLE" + b64u(os.urandom(21)) + "demo=="
            TOKENS.add(t)
            return r(200, t, sens="token", kind="imds-session-token", extra=[("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", ttl)])
        return r(405, html_err(405, "Method Not Allowed"), "text/html", sens="token", extra=[("Allow", "OPTIONS, PUT")])
    m = re.match(r"^/(latest|1\.0|\d{4}-\d\d-\d\d)(/.*)?$", np)
    sub = (m and m.group(2) or "").strip("/")
    sens = "discovery"
    if sub.startswith("user-data"):
        sens = "user-data"
    elif "instance-identity" in sub:
        sens = "identity"
    elif re.search(r"security-credentials/.+", sub):
        sens = "credential"
    if method not in ("GET", "HEAD"):
        return r(405, html_err(405, "Method Not Allowed"), "text/html", sens=sens)
    if tok is not None and tok not in TOKENS:
        return r(401, html_err(401, "Unauthorized"), "text/html", sens=sens)
    if tok is None and c.get("v2_only"):
        return r(401, html_err(401, "Unauthorized"), "text/html", sens=sens)
    ex = [("Accept-Ranges", "none"), ("Last-Modified", formatdate(time.time() - 3600, usegmt=True))]
    if tok:
        ex.append(("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "21500"))
    if np == "/":
        return r(200, "\n".join(DATES), extra=ex)
    if not m or m.group(1) not in DATES + ["2022-07-09", "2023-02-15", "2024-10-01", "2025-01-01"]:
        return r(404, html_err(404, "Not Found"), "text/html", sens=sens)
    if sub == "":
        return r(200, "dynamic\nmeta-data\nuser-data", extra=ex)
    parts = sub.split("/")
    if parts[0] == "user-data" and len(parts) == 1:
        return r(200, USERDATA, "application/octet-stream", sens, None, ex)
    tree = {"meta-data": AWS, "dynamic": AWS_TREE_DYN}.get(parts[0])
    v = walk(tree, parts[1:]) if tree else None
    if v is None:
        return r(404, html_err(404, "Not Found"), "text/html", sens=sens)
    if v == "@creds":
        return r(200, pretty(awscreds()), sens="credential", kind="aws-role-keys", extra=ex)
    if isinstance(v, dict):
        k = "role-name-list" if sub.rstrip("/").endswith("iam/security-credentials") else None
        return r(200, listing(v), kind=k, extra=ex)
    k = "signed-document" if sens == "identity" else None
    return r(200, v, sens=sens, kind=k, extra=ex)


def azure(method, np, h, raw, c, q):
    base = [("Server", "IMDS/150.870.65.1854"), ("x-ms-request-id", "00000000-demo-4000-8000-%012x" % int(time.time() * 1000))]
    J = "application/json; charset=utf-8"
    sens = (
        "credential-token"
        if "/identity/oauth2/token" in np
        else (
            "identity"
            if ("/attested/" in np or np.startswith("/metadata/identity"))
            else "user-data" if np.lower().endswith(("customdata", "userdata")) else "discovery"
        )
    )
    s = {"credential-token": "token"}.get(sens, sens)
    if np.startswith("/metadata") and np != "/metadata/versions" or True:
        if h.get("metadata", "").lower() != "true":
            if "identity" in np:
                return R(
                    400,
                    json.dumps({"error": "invalid_request", "error_description": "Required metadata header not specified"}),
                    J,
                    base,
                    "azure",
                    s,
                )
            return R(400, json.dumps({"error": "Bad request. Required metadata header not specified"}), J, base, "azure", s)
    if "x-forwarded-for" in h:
        return R(400, json.dumps({"error": "Bad request: X-Forwarded-For header is not allowed"}), J, base, "azure", s)
    if np != "/metadata/versions" and "api-version" not in q:
        return R(
            400,
            json.dumps(
                {
                    "error": "Bad request. api-version was not specified in the request",
                    "newest-versions": ["2023-07-01", "2021-12-13", "2021-11-15"],
                }
            ),
            J,
            base,
            "azure",
            s,
        )
    if np == "/metadata/versions":
        return R(200, json.dumps({"apiVersions": ["2017-03-01", "2021-02-01", "2023-07-01"]}), J, base, "azure", s)
    if np == "/metadata/identity/oauth2/token":
        if "resource" not in q:
            return R(
                400,
                json.dumps({"error": "invalid_request", "error_description": "Required query variable 'resource' is missing"}),
                J,
                base,
                "azure",
                s,
            )
        n = int(time.time())
        tok = fakejwt(
            {
                "aud": q["resource"][0],
                "iss": "https://sts.windows.net/00000000-0000-0000-0000-00000000demo/",
                "exp": n + 86399,
                "appid": "11111111-demo-4111-8111-111111111111",
                "xms_mirid": "/subscriptions/EXAMPLE/resourcegroups/demo/providers/Microsoft.Compute/virtualMachines/demo-web",
            }
        )
        return R(
            200,
            json.dumps(
                {
                    "access_token": tok,
                    "client_id": "11111111-demo-4111-8111-111111111111",
                    "expires_in": "86399",
                    "expires_on": str(n + 86399),
                    "ext_expires_in": "86399",
                    "not_before": str(n - 300),
                    "resource": q["resource"][0],
                    "token_type": "Bearer",
                }
            ),
            J,
            base,
            "azure",
            "token",
            "oauth-access-token",
        )
    if np == "/metadata/identity/info":
        return R(200, json.dumps({"tenantId": "00000000-0000-0000-0000-00000000demo"}), J, base, "azure", "identity")
    comp = {
        "azEnvironment": "AzurePublicCloud",
        "customData": "",
        "location": "eastus",
        "name": "demo-web",
        "offer": "0001-com-ubuntu-server-jammy",
        "osType": "Linux",
        "placementGroupId": "",
        "plan": {"name": "", "product": "", "publisher": ""},
        "platformFaultDomain": "0",
        "platformUpdateDomain": "0",
        "provider": "Microsoft.Compute",
        "publicKeys": [{"keyData": "ssh-rsa AAAAEXAMPLE demo", "path": f"/home/{ADMIN}/.ssh/authorized_keys"}],
        "publisher": "canonical",
        "resourceGroupName": "demo",
        "resourceId": "/subscriptions/EXAMPLE-SUB/resourceGroups/demo/providers/Microsoft.Compute/virtualMachines/demo-web",
        "sku": "22_04-lts-gen2",
        "subscriptionId": "EXAMPLE-SUB",
        "tags": "",
        "userData": base64.b64encode(USERDATA.encode()).decode(),
        "version": "22.04.202405010",
        "vmId": "22222222-demo-4222-8222-222222222222",
        "vmScaleSetName": "",
        "vmSize": "Standard_B2s",
        "zone": "1",
        "osProfile": {"adminUsername": ADMIN, "computerName": "demo-web", "disablePasswordAuthentication": "true"},
        "storageProfile": {"dataDisks": []},
    }
    net = {
        "interface": [
            {
                "ipv4": {
                    "ipAddress": [{"privateIpAddress": "10.20.0.10", "publicIpAddress": "203.0.113.10"}],
                    "subnet": [{"address": "10.20.0.0", "prefix": "24"}],
                },
                "ipv6": {"ipAddress": []},
                "macAddress": "020000000010",
            }
        ]
    }
    if np.startswith("/metadata/instance"):
        v = walk({"compute": comp, "network": net}, [x for x in np[len("/metadata/instance") :].split("/") if x])
        if v is None:
            return R(404, json.dumps({"error": "Not found"}), J, base, "azure", s)
        if q.get("format") == ["text"] and not isinstance(v, dict):
            return R(200, str(v), "text/plain; charset=utf-8", base, "azure", s)
        return R(200, json.dumps(v), J, base, "azure", s)
    if np == "/metadata/attested/document":
        return R(200, json.dumps({"encoding": "pkcs7", "signature": "MIIEXAMPLE"}), J, base, "azure", "identity", "signed-document")
    if np == "/metadata/scheduledevents":
        return R(200, json.dumps({"DocumentIncarnation": 1, "Events": []}), J, base, "azure")
    return R(404, json.dumps({"error": "Not found"}), J, base, "azure", s)


def gcp(method, np, h, raw, c, q):
    base = [
        ("Metadata-Flavor", "Google"),
        ("Server", "Metadata Server for VM"),
        ("X-XSS-Protection", "0"),
        ("X-Frame-Options", "SAMEORIGIN"),
    ]
    T = "application/text"
    J = "application/json"
    m = re.match(r"^(/computeMetadata/(?:v1|v1beta1)|/0\.1/meta-data)(/.*)?$", np)
    sub = (m and m.group(2) or "").strip("/")
    s = (
        "token"
        if sub.endswith("/token")
        else (
            "identity"
            if sub.endswith("/identity")
            else "user-data" if ("startup-script" in sub or "user-data" in sub or sub.endswith("attributes")) else "discovery"
        )
    )
    if not m:
        if np == "/":
            return R(200, "0.1/\ncomputeMetadata/\n", T, base, "gcp")
        if np == "/computeMetadata":
            return R(200, "v1/\nv1beta1/\n", T, base, "gcp")
        return R(404, "not found", "text/html", base, "gcp", s)
    flavor = h.get("metadata-flavor", "").lower() == "google" or h.get("x-google-metadata-request", "").lower() == "true"
    if m.group(1).endswith("/v1") and not flavor:
        return R(
            403,
            "<!DOCTYPE html><html lang=en><title>Error 403 (Forbidden)!!1</title><p><b>403.</b> <ins>That’s an error.</ins><p>Your client does not have permission to get URL <code>%s</code> from this server. Missing Metadata-Flavor:Google header."
            % np,
            "text/html; charset=UTF-8",
            base,
            "gcp",
            s,
        )
    if "x-forwarded-for" in h:
        return R(403, "X-Forwarded-For not allowed", "text/html; charset=UTF-8", base, "gcp", s)
    base.append(("ETag", "%016x" % int(time.time())))
    SA = "demo-sa@example-project.iam.gserviceaccount.com"
    tree = {
        "project": {
            "project-id": "example-project",
            "numeric-project-id": "123456789012",
            "attributes": {"ssh-keys": "demo:ssh-rsa AAAAEXAMPLE demo"},
        },
        "instance": {
            "id": "1234567890123456789",
            "hostname": "demo-web.us-central1-a.c.example-project.internal",
            "name": "demo-web",
            "zone": "projects/123456789012/zones/us-central1-a",
            "machine-type": "projects/123456789012/machineTypes/e2-medium",
            "image": "projects/debian-cloud/global/images/debian-12",
            "cpu-platform": "Intel Broadwell",
            "maintenance-event": "NONE",
            "preempted": "FALSE",
            "tags": "[]",
            "description": "",
            "attributes": {"startup-script": USERDATA, "enable-oslogin": "FALSE"},
            "disks": {"0": {"device-name": "demo-web", "index": "0", "mode": "READ_WRITE", "type": "PERSISTENT"}},
            "network-interfaces": {
                "0": {
                    "ip": "10.20.0.10",
                    "mac": "02:00:00:00:00:10",
                    "network": "projects/123456789012/networks/default",
                    "access-configs": {"0": {"external-ip": "203.0.113.10", "type": "ONE_TO_ONE_NAT"}},
                }
            },
            "service-accounts": {
                SA: {"aliases": "default", "email": SA, "scopes": "https://www.googleapis.com/auth/cloud-platform"},
                "default": {"aliases": "default", "email": SA, "scopes": "https://www.googleapis.com/auth/cloud-platform"},
            },
        },
    }
    if re.match(r"^instance/service-accounts/[^/]+/token$", sub) or sub == "auth-token":
        return R(
            200,
            json.dumps({"access_token": "ya29.c.EXAMPLE-" + "fakeFAKEfake0" * 60, "expires_in": 3599, "token_type": "Bearer"}),
            J,
            base,
            "gcp",
            "token",
            "oauth-access-token",
        )
    if re.match(r"^instance/service-accounts/[^/]+/identity$", sub):
        if "audience" not in q:
            return R(400, "non-empty audience parameter required\n", "text/html; charset=UTF-8", base, "gcp", "identity")
        n = int(time.time())
        return R(
            200,
            fakejwt(
                {
                    "aud": q["audience"][0],
                    "azp": "1000",
                    "email": SA,
                    "email_verified": True,
                    "exp": n + 3600,
                    "iat": n,
                    "iss": "https://accounts.google.com",
                    "sub": "1000",
                }
            ),
            "text/html",
            base,
            "gcp",
            "identity",
            "oidc-id-token",
        )
    if sub == "universe/universe-domain" or sub == "universe/universe_domain":
        return R(200, "googleapis.com", T, base, "gcp")
    v = walk(tree, [x for x in sub.split("/") if x])
    if v is None:
        return R(404, "<!DOCTYPE html><title>Error 404 (Not Found)!!1</title>", "text/html; charset=UTF-8", base, "gcp", s)
    if isinstance(v, dict):
        if q.get("recursive", [""])[0].lower() == "true":

            def camel(x):
                if isinstance(x, dict):
                    return {
                        re.sub(r"-(\w)", lambda m: m.group(1).upper(), k) if "@" not in k and "attr" not in k else k: camel(y)
                        for k, y in x.items()
                    }
                return x

            return R(200, json.dumps(camel(v)), J, base, "gcp", "user-data" if sub in ("", "instance") else s)
        return R(200, "".join(k + ("/" if isinstance(x, dict) else "") + "\n" for k, x in v.items()), T, base, "gcp", s)
    return R(200, v, T, base, "gcp", s)


KEYDIR = "@BUILD@/ocikeys"


def rd(n):
    try:
        return open(os.path.join(KEYDIR, n), "rb").read()
    except OSError:
        return b"-----BEGIN EXAMPLE-----\nFAKE\n-----END EXAMPLE-----\n"


def oracle(method, np, h, raw, c, q):
    base = [("Server", "nginx/1.14.2")]
    v2 = np.startswith("/opc/v2")
    sub = re.sub(r"^/opc/v[12]/?", "", np)
    s = (
        "credential"
        if sub == "identity/key.pem"
        else (
            "identity"
            if sub.startswith("identity")
            else "user-data" if "user_data" in sub or sub in ("instance", "instance/metadata") else "discovery"
        )
    )
    if v2 and h.get("authorization") != "Bearer Oracle":
        return R(403, "<html>\r\n<head><title>403 Forbidden</title></head>\r\n</html>\r\n", "text/html", base, "oracle", s)
    inst = {
        "availabilityDomain": "EMIr:PHX-AD-1",
        "faultDomain": "FAULT-DOMAIN-3",
        "compartmentId": "ocid1.tenancy.oc1..exampleuniqueID",
        "displayName": "demo-web",
        "hostname": "demo-web",
        "id": "ocid1.instance.oc1.phx.exampleuniqueID",
        "image": "ocid1.image.oc1.phx.exampleuniqueID",
        "metadata": {"ssh_authorized_keys": "ssh-rsa AAAAEXAMPLE demo", "user_data": base64.b64encode(USERDATA.encode()).decode()},
        "region": "phx",
        "canonicalRegionName": "us-phoenix-1",
        "ociAdName": "phx-ad-3",
        "regionInfo": {
            "realmKey": "oc1",
            "realmDomainComponent": "oraclecloud.com",
            "regionKey": "PHX",
            "regionIdentifier": "us-phoenix-1",
        },
        "shape": "VM.Standard.E3.Flex",
        "state": "Running",
        "timeCreated": 1600381928581,
    }
    J = "application/json"
    if sub in ("cert.pem", "identity/cert.pem"):
        return R(200, rd("cert.pem"), "application/x-x509-ca-cert", base, "oracle", "identity")
    if sub == "identity/intermediate.pem":
        return R(200, rd("inter.pem"), "application/x-x509-ca-cert", base, "oracle", "identity")
    if sub == "identity/key.pem":
        return R(200, rd("key.pem"), "application/octet-stream", base, "oracle", "credential", "private-key")
    if sub == "vnics":
        return R(
            200,
            json.dumps(
                [
                    {
                        "vnicId": "ocid1.vnic.oc1.phx.example",
                        "privateIp": "10.20.0.10",
                        "vlanTag": 1,
                        "macAddr": "02:00:00:00:00:10",
                        "virtualRouterIp": "10.20.0.1",
                        "subnetCidrBlock": "10.20.0.0/24",
                    }
                ]
            ),
            J,
            base,
            "oracle",
            s,
        )
    if sub.startswith("instance"):
        v = walk(inst, [x for x in sub[8:].split("/") if x])
        if v is not None:
            return R(200, json.dumps(v) if not isinstance(v, str) else v, J if not isinstance(v, str) else "text/plain", base, "oracle", s)
    return R(404, "<html>404</html>", "text/html", base, "oracle", s)


def alibaba(method, np, h, raw, c, q):
    base = [("Server", "NetDefault")]
    sub = re.sub(r"^/(latest|\d{4}-\d\d-\d\d)/?", "", np)
    s = (
        "credential"
        if re.match(r"^meta-data/ram/security-credentials/.+", sub)
        else "user-data" if sub.startswith("user-data") else "identity" if "instance-identity" in sub else "discovery"
    )
    if sub == "api/token":
        if method != "PUT":
            return R(405, "Method Not Allowed", "text/html", base, "alibaba", "token")
        if c.get("v2_disabled"):
            return R(403, "Forbidden", "text/html", base, "alibaba", "token")
        t = "AQALI" + b64u(os.urandom(24)) + "EXAMPLE=="
        TOKENS.add(t)
        return R(200, t, "text/plain", base, "alibaba", "token", "imds-session-token")
    tok = h.get("x-aliyun-ecs-metadata-token")
    if (tok and tok not in TOKENS) or (not tok and c.get("v2_only")):
        return R(403, "Forbidden", "text/html", base, "alibaba", s)
    n = time.time()
    if re.match(r"^meta-data/ram/security-credentials/.+", sub):
        return R(
            200,
            json.dumps(
                {
                    "AccessKeyId": "STS.EXAMPLE00000DEMO",
                    "AccessKeySecret": "EXAMPLEfakeSecretFAKE",
                    "Expiration": iso(n + 21600),
                    "SecurityToken": "CAISEXAMPLE" + "fakeFAKE" * 60,
                    "LastUpdated": iso(n),
                    "Code": "Success",
                },
                indent=1,
            ),
            "application/json",
            base,
            "alibaba",
            "credential",
            "alibaba-sts-keys",
        )
    if sub in ("meta-data/ram/security-credentials",):
        return R(200, "demo-ecs-role", "text/plain", base, "alibaba", "discovery", "role-name-list")
    d = {
        "meta-data/instance-id": "i-bp1exampledemo",
        "meta-data/region-id": "cn-hangzhou",
        "meta-data/zone-id": "cn-hangzhou-h",
        "meta-data/hostname": "demo-web",
        "meta-data/mac": "00:16:3e:00:00:10",
        "meta-data/private-ipv4": "10.20.0.10",
        "user-data": USERDATA,
        "dynamic/instance-identity/document": json.dumps(
            {"region-id": "cn-hangzhou", "instance-id": "i-bp1exampledemo", "owner-account-id": "1234"}
        ),
        "": "dynamic\nmeta-data\nuser-data",
    }
    if sub in d:
        return R(200, d[sub], "text/plain", base, "alibaba", s)
    if sub == "meta-data":
        return R(200, "hostname\ninstance-id\nmac\nprivate-ipv4\nram/\nregion-id\nzone-id", "text/plain", base, "alibaba", s)
    if sub == "meta-data/ram":
        return R(200, "security-credentials/", "text/plain", base, "alibaba", s)
    return R(404, '<?xml version="1.0"?><html><title>404 - Not Found</title></html>', "text/html", base, "alibaba", s)


def digitalocean(method, np, h, raw, c, q):
    base = []
    sub = re.sub(r"^/metadata/v1(\.json)?/?", "", np)
    j = {
        "droplet_id": 2756294,
        "hostname": "demo-web",
        "vendor_data": "#cloud-config\n{}\n",
        "user_data": USERDATA,
        "public_keys": ["ssh-rsa AAAAEXAMPLE demo"],
        "auth_key": "EXAMPLEAUTHKEY",
        "region": "nyc3",
        "interfaces": {
            "private": [],
            "public": [
                {
                    "ipv4": {"ip_address": "203.0.113.10", "netmask": "255.255.255.0", "gateway": "203.0.113.1"},
                    "mac": "02:00:00:00:00:10",
                    "type": "public",
                }
            ],
        },
        "dns": {"nameservers": ["10.20.0.2"]},
        "features": {"dhcp_enabled": False},
    }
    if np.endswith("/v1.json"):
        return R(200, json.dumps(j), "application/json", base, "digitalocean", "user-data")
    s = "user-data" if sub.startswith(("user-data", "vendor-data")) else "credential" if sub == "auth-key" else "discovery"
    d = {
        "": "id\nhostname\nuser-data\nvendor-data\npublic-keys\nregion\ninterfaces/\ndns/\nfloating_ip/\nauth-key",
        "id": "2756294",
        "hostname": "demo-web",
        "region": "nyc3",
        "user-data": USERDATA,
        "vendor-data": "#cloud-config\n",
        "public-keys": "ssh-rsa AAAAEXAMPLE demo",
        "interfaces/public/0/ipv4/address": "203.0.113.10",
        "interfaces": "public/",
        "dns/nameservers": "10.20.0.2",
    }
    if sub in d:
        return R(200, d[sub], "text/plain; charset=utf-8", base, "digitalocean", s)
    return R(404, "not found", "text/plain; charset=utf-8", base, "digitalocean", s)


def openstack(method, np, h, raw, c, q):
    if np.endswith("meta_data.json"):
        return R(
            200,
            json.dumps(
                {
                    "uuid": "33333333-demo",
                    "name": "demo-web",
                    "hostname": "demo-web.novalocal",
                    "admin_pass": "EXAMPLEpass",
                    "availability_zone": "nova",
                    "project_id": "example",
                    "launch_index": 0,
                    "public_keys": {"demo": "ssh-rsa AAAAEXAMPLE"},
                }
            ),
            "application/json",
            [],
            "openstack",
        )
    if np.endswith("user_data"):
        return R(200, USERDATA, "text/plain", [], "openstack", "user-data")
    if np.endswith("network_data.json"):
        return R(200, "{}", "application/json", [], "openstack")
    if np in ("/openstack",):
        return R(200, "2012-08-10\n2018-08-27\nlatest", "text/plain", [], "openstack")
    return R(404, "404 Not Found", "text/plain", [], "openstack")


def hetzner(method, np, h, raw, c, q):
    if np == "/hetzner/v1/metadata":
        return R(
            200,
            "availability-zone: nbg1-dc3\nhostname: demo-web\ninstance-id: 42\npublic-ipv4: 203.0.113.10\nregion: eu-central\n",
            "text/plain",
            [],
            "hetzner",
        )
    if np.endswith("userdata"):
        return R(200, USERDATA, "text/plain", [], "hetzner", "user-data")
    return R(404, "not found", "text/plain", [], "hetzner")


def ibm(method, np, h, raw, c, q):
    if np == "/instance_identity/v1/token" and method == "PUT":
        return R(
            200,
            json.dumps(
                {
                    "access_token": fakejwt({"iss": "ibm", "demo": 1}),
                    "created_at": iso(time.time()),
                    "expires_at": iso(time.time() + 3600),
                    "expires_in": 3600,
                }
            ),
            "application/json",
            [],
            "ibm",
            "token",
            "imds-session-token",
        )
    if np == "/instance_identity/v1/iam_token" and method == "POST":
        return R(
            200,
            json.dumps({"access_token": fakejwt({"iss": "https://iam.cloud.ibm.com/identity", "demo": 1}), "expires_in": 3600}),
            "application/json",
            [],
            "ibm",
            "token",
            "oauth-access-token",
        )
    return R(404, "{}", "application/json", [], "ibm")


def tencent(method, np, h, raw, c, q):
    sub = np.replace("/latest/meta-data", "").strip("/")
    if re.match(r"^cam/security-credentials/.+", sub):
        return R(
            200,
            json.dumps(
                {
                    "TmpSecretId": "AKIDEXAMPLEdemo",
                    "TmpSecretKey": "EXAMPLEfake",
                    "ExpiredTime": int(time.time() + 3600),
                    "Expiration": iso(time.time() + 3600),
                    "Token": "EXAMPLE" + "fake" * 50,
                    "Code": "Success",
                }
            ),
            "application/json",
            [],
            "tencent",
            "credential",
            "tencent-sts-keys",
        )
    if sub == "cam/security-credentials":
        return R(200, "demo-cvm-role", "text/plain", [], "tencent", "discovery", "role-name-list")
    if sub == "instance-id":
        return R(200, "ins-example", "text/plain", [], "tencent")
    return R(404, "not found", "text/html", [], "tencent")


def ecs(method, np, h, raw, c, q):
    J = "application/json"
    n = time.time()
    if np.startswith("/v2/credentials/"):
        return R(
            200,
            json.dumps(
                {
                    "RoleArn": "arn:aws:iam::123456789012:role/demo-task-role",
                    "AccessKeyId": "ASIAEXAMPLE0ECSDEMO1",
                    "SecretAccessKey": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
                    "Token": STS_TOKEN,
                    "Expiration": iso(n + 21000),
                }
            ),
            J,
            [("X-Rate-Limit-Limit", "40")],
            "aws-ecs",
            "credential",
            "aws-role-keys",
        )
    if np.startswith(("/v2/metadata", "/v3", "/v4")):
        return R(
            200,
            json.dumps(
                {"Cluster": "demo", "TaskARN": "arn:aws:ecs:us-east-1:123456789012:task/demo/example", "Family": "demo", "Revision": "1"}
            ),
            J,
            [],
            "aws-ecs",
            "discovery",
        )
    return R(404, "404 page not found\n", "text/plain; charset=utf-8", [], "aws-ecs", "credential" if "credentials" in np else "discovery")


def eks(method, np, h, raw, c, q):
    J = "application/json"
    n = time.time()
    if np == "/v1/credentials":
        if not h.get("authorization"):
            return R(400, "Service account token cannot be empty\n", "text/plain; charset=utf-8", [], "aws-eks", "credential")
        return R(
            200,
            json.dumps(
                {
                    "AccessKeyId": "ASIAEXAMPLE0EKSDEMO1",
                    "SecretAccessKey": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
                    "Token": STS_TOKEN,
                    "AccountId": "123456789012",
                    "Expiration": iso(n + 21000),
                }
            ),
            J,
            [],
            "aws-eks",
            "credential",
            "aws-role-keys",
        )
    return R(404, "404 page not found\n", "text/plain; charset=utf-8", [], "aws-eks")


def wireserver(method, np, h, raw, c, q):
    base = [("Server", "Microsoft-IIS/10.0"), ("x-ms-request-id", "0000-demo")]
    if raw.startswith("/?comp=versions") or q.get("comp") == ["versions"]:
        return R(
            200,
            '<?xml version="1.0" encoding="utf-8"?>\n<Versions>\n  <Preferred>\n    <Version>2015-04-05</Version>\n  </Preferred>\n  <Supported>\n    <Version>2015-04-05</Version>\n    <Version>2012-11-30</Version>\n  </Supported>\n</Versions>',
            "text/xml; charset=utf-8",
            base,
            "azure-wireserver",
        )
    if q.get("comp") == ["goalstate"]:
        return R(
            200,
            '<?xml version="1.0" encoding="utf-8"?>\n<GoalState><Version>2012-11-30</Version><Incarnation>1</Incarnation><Machine><ExpectedState>Started</ExpectedState></Machine><Container><ContainerId>demo</ContainerId></Container></GoalState>',
            "text/xml; charset=utf-8",
            base,
            "azure-wireserver",
        )
    return R(404, "", "text/plain", base, "azure-wireserver")


def appservice(method, np, h, raw, c, q):
    J = "application/json"
    if np == "/msi/token":
        if not h.get("x-identity-header") and not h.get("secret"):
            return R(400, json.dumps({"statusCode": 400, "message": "missing header"}), J, [], "azure-appservice", "token")
        return R(
            200,
            json.dumps(
                {
                    "access_token": fakejwt({"aud": q.get("resource", ["?"])[0]}),
                    "expires_on": str(int(time.time() + 86399)),
                    "resource": q.get("resource", ["?"])[0],
                    "token_type": "Bearer",
                    "client_id": "demo",
                }
            ),
            J,
            [],
            "azure-appservice",
            "token",
            "oauth-access-token",
        )
    return R(404, "", J, [], "azure-appservice")


def dispatch(server, method, target, np, h, host, c):
    q = parse_qs(urlsplit(target).query, keep_blank_values=True)
    a = (method, np, h, target, c, q)
    if server == "169.254.170.2":
        return ecs(*a)
    if server in ("169.254.170.23", "fd00:ec2::23"):
        return eks(*a)
    if server == "100.100.100.200":
        return alibaba(*a)
    if server == "168.63.129.16":
        return wireserver(*a)
    if server == "169.254.130.4":
        return appservice(*a)
    if server == "169.254.0.23":
        return tencent(*a)
    if server == "169.254.7.7":
        return R(200, "neighbour printer status page\n", "text/html", [], None)
    if server == "fd20:ce::254" or c.get("cloud") == "gcp":
        return gcp(*a)
    if (
        np.startswith("/computeMetadata")
        or np.startswith("/0.1/")
        or (host or "").startswith("metadata")
        or (np == "/" and h.get("metadata-flavor"))
    ):
        return gcp(*a)
    if np.startswith("/opc/"):
        return oracle(*a)
    if np.startswith("/openstack"):
        return openstack(*a)
    if np.startswith("/hetzner"):
        return hetzner(*a)
    if np.startswith("/instance_identity/"):
        return ibm(*a)
    if re.match(r"^/metadata/v1(\.json|/|$)", np):
        return digitalocean(*a)
    if np.startswith("/metadata"):
        return azure(*a)
    return aws(method, np, h, target, c)


REASON = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    501: "Not Implemented",
}
CREDKINDS = {"aws-role-keys", "oauth-access-token", "oidc-id-token", "alibaba-sts-keys", "tencent-sts-keys", "private-key"}


async def handle(rd_, wr):
    peer = wr.get_extra_info("peername")
    me = wr.get_extra_info("sockname")
    buf = b""
    try:
        while True:
            while True:
                buf = buf.lstrip(b"\r\n") if buf[:1] in b"\r\n" and buf else buf
                m = re.search(rb"\r?\n\r?\n", buf)
                if m:
                    break
                d = await rd_.read(65536)
                if not d:
                    return
                buf += d
            ts = time.time()
            head, buf = buf[: m.start()], buf[m.end() :]
            c = ctl()
            txt = head.decode("latin1")
            txt_unf = re.sub(r"\r?\n[ \t]+", " ", txt)
            lines = re.split(r"\r?\n", txt_unf)
            rl = lines[0]
            parts = rl.split(" ")
            method = parts[0]
            target = parts[1] if len(parts) > 1 else ""
            ver = parts[-1] if len(parts) > 2 else "HTTP/0.9"
            hl = []
            for l in lines[1:]:
                k, _, v = l.partition(":")
                hl.append((k.strip(), v.strip()))
            h = {}
            for k, v in hl:
                h.setdefault(k.lower(), v)
            host = h.get("host")
            if re.match(r"^[a-zA-Z]+://", target):
                host = urlsplit(target).netloc
            if h.get("expect", "").lower() == "100-continue":
                wr.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                await wr.drain()
            body = b""
            n = int(h.get("content-length") or 0)
            while len(buf) < n:
                d = await rd_.read(65536)
                if not d:
                    break
                buf += d
            body, buf = buf[:n], buf[n:]
            np = normalize(target)
            r = dispatch(me[0], method.upper(), target, np, h, host, c)
            b = r.body
            hdr = []
            if c.get("delay"):
                await asyncio.sleep(c["delay"])
            if c.get("gzip"):
                b = gzip.compress(b)
                hdr.append(("Content-Encoding", "gzip"))
            close = (r.close or h.get("connection", "").lower() == "close" or ver == "HTTP/1.0") and not c.get("keepalive")
            if ver == "HTTP/1.0":
                close = True
            if c.get("keepalive") and h.get("connection", "").lower() == "close":
                close = True
            hdr = [("Content-Type", r.ctype)] + hdr + r.headers + [("Date", formatdate(usegmt=True))]
            if c.get("chunked") and ver == "HTTP/1.1":
                hdr.append(("Transfer-Encoding", "chunked"))
            else:
                hdr.append(("Content-Length", str(len(b))))
            hdr.append(("Connection", "close" if close else "keep-alive"))
            out = ("HTTP/1.1 %d %s\r\n" % (r.status, REASON.get(r.status, "X")) + "".join("%s: %s\r\n" % x for x in hdr) + "\r\n").encode(
                "utf-8"
            )
            if method.upper() != "HEAD":
                if c.get("chunked") and ver == "HTTP/1.1":
                    k = c["chunked"]
                    for i in range(0, len(b), k):
                        out += b"%x\r\n" % len(b[i : i + k]) + b[i : i + k] + b"\r\n"
                    out += b"0\r\n\r\n"
                else:
                    out += b
            rec = {
                "ts": ts,
                "client": peer[0],
                "client_port": peer[1],
                "server": me[0],
                "server_port": me[1],
                "method": method,
                "version": ver,
                "target": target,
                "host": host,
                "path": target,
                "normalized_path": np,
                "status": r.status,
                "provider": r.prov,
                "sensitivity": r.sens,
                "secret_kind": r.kind if r.status == 200 else None,
                "credential_returned": bool(r.status == 200 and r.kind in CREDKINDS and method.upper() != "HEAD"),
                "user_agent": h.get("user-agent"),
                "headers": hl,
            }
            if r.prov in ("aws",):
                rec["imds_version"] = 2 if ("x-aws-ec2-metadata-token" in h or np == "/latest/api/token") else 1
            if r.prov == "alibaba":
                rec["imds_version"] = 2 if ("x-aliyun-ecs-metadata-token" in h or np == "/latest/api/token") else 1
            if body:
                rec["request_body_len"] = len(body)
            with open(LOGP, "a") as f:
                f.write(json.dumps(rec) + "\n")
            wr.write(out)
            await wr.drain()
            if close:
                break
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        try:
            wr.close()
        except Exception:
            pass


async def main():
    for ip, port in [
        ("169.254.169.254", 80),
        ("fd00:ec2::254", 80),
        ("169.254.170.2", 80),
        ("169.254.170.23", 80),
        ("fd00:ec2::23", 80),
        ("100.100.100.200", 80),
        ("168.63.129.16", 80),
        ("fd20:ce::254", 80),
        ("169.254.130.4", 8081),
        ("169.254.0.23", 80),
        ("169.254.7.7", 80),
    ]:
        await asyncio.start_server(handle, ip, port, limit=1 << 20)
    print("mock imds up", flush=True)
    await asyncio.Event().wait()


asyncio.run(main())

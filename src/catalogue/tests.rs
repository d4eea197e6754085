//! Tests of the catalogue: the data file itself, and every lookup.

use super::*;

fn builtin() -> Catalogue {
    Catalogue::builtin().unwrap_or_else(|e| panic!("{e} in line {:?}", e.line(TEXT)))
}

#[test]
fn the_data_file_holds_together() {
    let catalogue = builtin();
    let sources = &catalogue.data.sources;
    let mut used = std::collections::HashSet::new();
    let endpoints = catalogue.endpoints.iter().map(|e| (e.id(), &e.sources));
    let paths = catalogue.paths.iter().map(|p| (p.entry.id(), &p.entry.sources));
    for (id, named) in
        endpoints.chain(paths).chain(catalogue.agents.iter().map(|a| (a.id.get_ref().as_str(), &a.sources)))
    {
        assert!(!named.is_empty(), "{id} has no source");
        for source in named {
            used.insert(source);
        }
    }
    assert_eq!(sources.keys().find(|s| !used.contains(s)), None, "a source that nothing uses");
    assert!(sources.values().all(|url| url.starts_with("https://")));
    for path in catalogue.paths {
        assert!(!path.endpoints.is_empty() && !path.entry.patterns.is_empty(), "{}", path.entry.id());
    }
    assert!(Regex::new(&catalogue.data.generic.credential_path).is_ok());
    assert!(Regex::new(&catalogue.data.generic.credential_path_any_host).is_ok());
}

#[test]
fn addresses_and_ports() {
    let catalogue = builtin();
    let is = |ip: &str, port| catalogue.is_metadata(ip.parse().unwrap(), port);
    for ip in [
        "169.254.169.254",
        "fd00:ec2::254",
        "169.254.170.2",
        "169.254.170.23",
        "168.63.129.16",
        "fd20:ce::254",
        "192.0.0.192",
        "169.254.42.42",
        "::ffff:169.254.169.254",
    ] {
        assert!(is(ip, 80) && is(ip, 8775), "{ip}");
        assert!(!is(ip, 53) && !is(ip, 123) && !is(ip, 67), "{ip}");
    }
    for ip in ["100.100.100.200", "100.96.0.96", "::ffff:100.80.80.80"] {
        assert!(is(ip, 80) && !is(ip, 22) && catalogue.has_other_use(ip.parse().unwrap()), "{ip}");
    }
    assert!(is("169.254.169.253", 80) && !is("169.254.169.253", 53) && !is("169.254.169.253", 123));
    assert!(is("169.254.169.250", 80) && !is("169.254.169.250", 1688));
    assert!(catalogue.has_other_use("168.63.129.16".parse().unwrap()));
    assert!(!catalogue.has_other_use("169.254.169.254".parse().unwrap()));
    for ip in ["169.254.10.10", "169.254.7.7", "127.0.0.1", "::1", "10.0.0.1", "fd00:ec2::253"] {
        assert!(!is(ip, 80), "{ip}");
    }
}

#[test]
fn names() {
    let catalogue = builtin();
    let provider = |name: &str| catalogue.endpoints_named(name).first().map(|e| e.provider.as_str());
    assert_eq!(provider("metadata.google.internal"), Some("gcp"));
    assert_eq!(provider("metadata"), None);
    assert_eq!(catalogue.endpoints_named_shortly("metadata").first().map(|e| e.provider.as_str()), Some("gcp"));
    assert!(
        catalogue.is_overlay_name("db-0.default.svc.cluster.local") && !catalogue.is_overlay_name("mycluster.localx")
    );
    assert_eq!(provider("instance-data.eu-west-1.compute.internal"), Some("aws"));
    assert_eq!(provider("metadata.tencentyun.com"), Some("tencent"));
    for name in ["localhost", "metadata.example", "x.metadata.google.internal", "compute.internal", ""] {
        assert_eq!(provider(name), None, "{name}");
    }
}

#[test]
fn paths_by_best_fit() {
    let catalogue = builtin();
    let ids = |path: &str, query: &str| -> Vec<String> {
        catalogue.paths_like(path, query.as_bytes()).iter().map(|m| m.path.entry.id().to_owned()).collect()
    };
    let has = |path: &str, id: &str| assert!(ids(path, "").iter().any(|i| i == id), "{path}: {:?}", ids(path, ""));
    has("/latest/meta-data/iam/security-credentials/web", "aws-role-creds");
    has("/2021-03-23/meta-data/iam/security-credentials", "aws-role-list");
    has("/latest", "aws-index");
    has("/", "aws-root-walk");
    has("/v1.json", "vultr-json");
    has("/v4/abc/task", "aws-ecs-metadata");
    assert!(!ids("/machine", "comp=versions").contains(&"azure-ws-goalstate".to_owned()));
    assert!(ids("/machine", "comp=goalstat%65").contains(&"azure-ws-goalstate".to_owned()));
    assert!(ids("/computeMetadata/v1/instance", "alt=json&recursive=true").contains(&"gcp-recursive".to_owned()));
    assert!(!ids("/computeMetadata/v1/instance", "").contains(&"gcp-recursive".to_owned()));
}

/// The index by first segment leaves nothing out.
#[test]
fn the_index_agrees_with_a_loop_over_everything() {
    let catalogue = builtin();
    for path in [
        "",
        "/",
        "/latest",
        "/latest/user-data",
        "/1.0/user-data",
        "/2016-01-01/meta-data/x",
        "/openstack/latest/password",
        "/v1",
        "/v1/credentials",
        "/metadata/v1/",
        "/x/y",
        "/user_data/a",
        "/msi/token",
        "/0.1/meta-data/auth-token",
    ] {
        let all = catalogue.paths.iter().filter(|p| p.entry.query.is_empty());
        let slow: Vec<_> = all
            .filter_map(|p| {
                Some((p.entry.id(), p.entry.patterns.iter().filter_map(|pattern| pattern.fit(path)).max()?))
            })
            .collect();
        let fast: Vec<_> = catalogue.paths_like(path, b"").iter().map(|m| (m.path.entry.id(), m.fit)).collect();
        assert_eq!(fast, slow, "{path}");
    }
}

#[test]
fn a_configuration_adds_entries() {
    let text = r#"
        [[endpoint]]
        id = "lab"
        provider = "lab"
        service = "imds"
        addresses = ["10.9.8.7"]
        [[path]]
        id = "lab-creds"
        provider = "lab"
        service = "imds"
        endpoints = ["lab"]
        patterns = ["/{v}/keys/*"]
        sensitivity = "credential"
        kind = "password"
    "#;
    let catalogue = Catalogue::with_additions(toml::from_str(text).unwrap()).unwrap();
    assert!(catalogue.is_metadata("10.9.8.7".parse().unwrap(), 80));
    let found = catalogue.paths_like("/latest/keys/a", b"");
    assert_eq!(
        found.iter().map(|m| (m.path.entry.id(), m.path.entry.sensitivity)).skip(1).collect::<Vec<_>>(),
        [("lab-creds", Sensitivity::Credential)]
    );
}

#[test]
fn errors_name_the_entry_and_the_line() {
    for (text, message, line) in [
        ("[[endpoint]]\nid = \"a\"\nprovider = \"p\"\nservice = \"s\"\ncolour = 1\n", "unknown field `colour`", 5),
        ("[[endpoint]]\nid = \"a\"\nprovider = \"p\"\nservice = \"s\"\naddresses = [\"1.2.3\"]\n", "IP address", 5),
    ] {
        let error: CatalogueError = toml::from_str::<Additions>(text).unwrap_err().into();
        assert!(error.message.contains(message), "{}", error.message);
        assert_eq!(error.line(text), Some(line));
    }
    let path = |rest: &str| format!("\n[[path]]\nid = \"x\"\nprovider = \"p\"\nservice = \"s\"\n{rest}");
    for (rest, message) in [
        ("endpoints = [\"nowhere\"]\npatterns = [\"/a\"]\nsensitivity = \"token\"", "no endpoint `nowhere`"),
        ("endpoints = []\npatterns = [\"/{w}\"]\nsensitivity = \"token\"", "no class `w`"),
        ("endpoints = []\npatterns = [\"/a\"]\nsensitivity = \"credential\"", "needs `kind`"),
    ] {
        let text = path(rest);
        let error = Catalogue::with_additions(toml::from_str(&text).unwrap()).unwrap_err();
        assert!(error.message.contains(message), "{}", error.message);
        assert_eq!(error.line(&text), Some(3));
    }
}

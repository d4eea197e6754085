"""Run the real cloud-init 22.4.2 datasource code (Debian package unpacked, not installed). argv[1]=cloud"""

import sys, os, logging

sys.path.insert(0, "@BUILD@/x/usr/lib/python3/dist-packages")
logging.basicConfig(level=logging.WARNING)
w = sys.argv[1]
from cloudinit import helpers, settings

paths = helpers.Paths({"cloud_dir": "@BUILD@/ci", "run_dir": "@BUILD@/ci/run"})


class D:  # minimal distro
    name = "debian"
    fallback_interface = "eth0"
    default_locale = "C"
    networking = None

    class _N:
        pass

    def get_primary_arch(self):
        return "amd64"


if w == "ec2":
    from cloudinit.sources import DataSourceEc2 as E

    E.identify_platform = lambda: E.CloudNames.AWS
    ds = E.DataSourceEc2({"datasource": {"Ec2": {"strict_id": False}}}, D(), paths)
    ds.perform_dhcp_setup = False
    ok = ds.wait_for_metadata_service()
    print("wait", ok)
    print({k: type(v).__name__ for k, v in ds.crawl_metadata().items()})
elif w == "aliyun":
    from cloudinit.sources import DataSourceEc2 as E, DataSourceAliYun as A

    ds = A.DataSourceAliYun({"datasource": {"AliYun": {}}}, D(), paths)
    ds._cloud_name = "aliyun"
    type(ds).cloud_name = property(lambda s: E.CloudNames.ALIYUN)
    print("wait", ds.wait_for_metadata_service())
    print(list(ds.crawl_metadata()))
elif w == "azure":
    from cloudinit.sources import DataSourceAzure as Z

    if hasattr(Z, "get_metadata_from_imds"):
        print(
            str(Z.get_metadata_from_imds(retries=1, md_type=Z.MetadataType.ALL, api_version=Z.IMDS_VER_WANT))[:200]
            if hasattr(Z, "MetadataType")
            else str(Z.get_metadata_from_imds("eth0", 1))[:200]
        )
elif w == "gce":
    from cloudinit.sources import DataSourceGCE as G

    print(
        str(
            G.read_md(
                address=G.MD_V1_URL,
                url_params=G.DataSourceGCE.__mro__[1].get_url_params(
                    type("X", (), {"ds_cfg": {}, "url_max_wait": 5, "url_timeout": 2, "url_retries": 1, "url_sec_between_retries": 1})()
                ),
                platform_check=False,
            )
        )[:300]
    )
elif w == "do":
    from cloudinit.sources.helpers import digitalocean as d

    print(list(d.read_metadata("http://169.254.169.254/metadata/v1.json", timeout=2, sec_between=1, retries=2)))
elif w == "oracle":
    from cloudinit.sources import DataSourceOracle as O

    print(str(O.read_opc_metadata(fetch_vnics_data=True))[:200])
elif w == "openstack":
    from cloudinit.sources import DataSourceOpenStack as O

    print(list(O.read_metadata_service("http://169.254.169.254", timeout=2, retries=1)))
elif w == "hetzner":
    from cloudinit.sources.helpers import hetzner as h

    print(h.read_metadata("http://169.254.169.254/hetzner/v1/metadata", timeout=2, sec_between=1, retries=1))

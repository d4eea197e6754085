import json, os, subprocess, time, signal, shlex, glob, hashlib, re, sys

OUT = "@CORPUS@"
MAKE = OUT + "/make"
B = "@BUILD@"
RUN = B + "/run"
CTL = B + "/ctl.json"
os.makedirs(RUN, exist_ok=True)
os.makedirs(B + "/home", exist_ok=True)
os.makedirs(OUT + "/labels.d", exist_ok=True)
LOGS = {k: f"{RUN}/{k}.log" for k in ("imds", "dns", "web", "atk")}
for p in LOGS.values():
    open(p, "a").close()


def ctl(**kw):
    json.dump(kw, open(CTL, "w"))


ENV = {
    "PATH": f"{B}/venv/bin:{B}/x/usr/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
    "HOME": B + "/home",
    "LANG": "C.UTF-8",
    "TMPDIR": B,
}


def nscmd(ns, cmd, env=None):
    e = dict(ENV)
    e.update(env or {})
    base = ["ip", "netns", "exec", ns, MAKE + "/nsrun.sh", "env", "-i"] + [f"{k}={v}" for k, v in e.items()]
    return base + (["bash", "-c", cmd] if isinstance(cmd, str) else cmd)


def run(ns, cmd, env=None, timeout=40, check=False):
    try:
        p = subprocess.run(
            nscmd(ns, cmd, env), capture_output=True, text=True, timeout=timeout, errors="replace", stdin=subprocess.DEVNULL, cwd=B
        )
        return p.returncode, p.stdout, p.stderr
    except subprocess.TimeoutExpired as e:
        return 124, (e.stdout or b"").decode("latin1") if isinstance(e.stdout, bytes) else (e.stdout or ""), "timeout"


def tail(k, off):
    with open(LOGS[k]) as f:
        f.seek(off)
        return [json.loads(l) for l in f if l.strip()]


class Cap:
    """with Cap(path, [("web","eth0")]) as c: ... ; then c.imds, c.dns, c.web, c.atk hold the log rows of the interval"""

    def __init__(s, file, ifaces=(("web", "eth0"),), opts=(), settle=0.25, bpf="", bufk="16384", fast=False):
        s.bufk = bufk
        s.fl = [] if fast else ["-U", "--immediate-mode"]
        s.file = os.path.join(OUT, file)
        s.ifs = list(ifaces)
        s.opts = list(opts)
        s.settle = settle
        s.bpf = bpf
        os.makedirs(os.path.dirname(s.file), exist_ok=True)

    def __enter__(s):
        s.off = {k: os.path.getsize(p) for k, p in LOGS.items()}
        s.procs = []
        s.parts = [s.file] if len(s.ifs) == 1 else [f"{B}/part{os.getpid()}_{id(s)%99991}_{i}.pcap" for i in range(len(s.ifs))]
        for (ns, i), f in zip(s.ifs, s.parts):
            p = subprocess.Popen(
                ["ip", "netns", "exec", ns, "tcpdump", "-Z", "root", "-n"]
                + s.fl
                + ["-B", s.bufk, "-i", i, "-w", f]
                + s.opts
                + ([s.bpf] if s.bpf else []),
                stderr=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
            )
            while True:
                l = p.stderr.readline().decode()
                if "listening on" in l or not l:
                    break
            s.procs.append(p)
        time.sleep(0.1)
        return s

    def __exit__(s, *a):
        time.sleep(s.settle)
        s.stats = ""
        for p in s.procs:
            p.send_signal(signal.SIGINT)
        for p in s.procs:
            s.stats += p.communicate(timeout=10)[1].decode().replace("\n", " ")
        if len(s.parts) > 1:
            subprocess.run(["mergecap", "-F", "pcap", "-w", s.file] + s.parts, check=True, stderr=subprocess.DEVNULL)
            for f in s.parts:
                os.unlink(f)
        for k in LOGS:
            setattr(s, k, tail(k, s.off[k]))

    def how(s):
        if len(s.ifs) == 1:
            return f"ip netns exec {s.ifs[0][0]} tcpdump -n -i {s.ifs[0][1]} {' '.join(s.opts)} -w FILE {s.bpf}".strip()
        return "mergecap -F pcap of " + " + ".join(f"tcpdump -i {i} in ns {n}" for n, i in s.ifs)


KEEP = (
    "ts",
    "client",
    "client_port",
    "server",
    "server_port",
    "method",
    "host",
    "path",
    "normalized_path",
    "status",
    "provider",
    "sensitivity",
    "secret_kind",
    "credential_returned",
    "imds_version",
    "user_agent",
)


def imdsrow(r):
    return {k: r.get(k) for k in KEEP if k in r}


def dnsrow(r):
    return {k: r[k] for k in ("name", "type", "answers", "rcode", "client", "transport") if k in r}


def tshark(file, filt, fields, extra=()):
    cmd = [
        "tshark",
        "-n",
        "-r",
        file,
        "-Y",
        filt,
        "-T",
        "fields",
        "-E",
        "separator=\x1f",
        "-E",
        "occurrence=a",
        "-E",
        "aggregator=\x1e",
    ] + list(extra)
    for f in fields:
        cmd += ["-e", f]
    p = subprocess.run(cmd, capture_output=True, text=True, errors="replace")
    return [l.split("\x1f") for l in p.stdout.split("\n") if l], p.returncode, p.stderr


def http_seen(file, extra=()):
    rows, rc, err = tshark(
        file,
        "http.request || http2.headers.path",
        [
            "frame.number",
            "frame.time_epoch",
            "ip.src",
            "ipv6.src",
            "tcp.srcport",
            "tcp.dstport",
            "http.request.method",
            "http.request.uri",
            "http.host",
            "http2.headers.method",
            "http2.headers.path",
            "ip.dst",
        ],
        extra,
    )
    out = []
    for r in rows:
        ms = (r[6] or r[9]).split("\x1e")
        us = (r[7] or r[10]).split("\x1e")
        for i, (m, u) in enumerate(zip(ms, us)):
            out.append(
                {
                    "frame": int(r[0]),
                    "ts": (float(r[1]) if r[1] else None),
                    "src": r[2] or r[3],
                    "sport": r[4],
                    "dport": r[5],
                    "method": m,
                    "uri": u,
                    "host": r[8],
                    "dst": r[11],
                }
            )
    return out, rc, err


def pcapinfo(f):
    p = subprocess.run(["capinfos", "-T", "-r", "-c", "-E", "-s", f], capture_output=True, text=True)
    try:
        x = p.stdout.strip().split("\t")
        return {"linktype": x[1], "packets": x[3] if len(x) > 3 else x[2]}
    except Exception:
        return {"error": (p.stderr or p.stdout).strip()[:160]}


def label(
    file,
    group,
    what,
    how,
    imds=(),
    dns=(),
    ssrf=(),
    rebind=(),
    alerts_min=0,
    no_alert=False,
    actor=None,
    verify=True,
    notes=None,
    derived_from=None,
    extra=None,
    **kw,
):
    rel = os.path.relpath(os.path.join(OUT, file), OUT)
    full = os.path.join(OUT, rel)
    rows = [imdsrow(r) if "headers" in r else r for r in imds]
    exp = {
        "imds_requests": rows,
        "dns_queries": [dnsrow(d) if "ts" in d else d for d in dns],
        "ssrf": list(ssrf),
        "dns_rebinding": list(rebind),
        "alerts_min": alerts_min,
        "no_alert": no_alert,
    }
    d = {"file": rel, "group": group, "what": what, "expect": exp, "how": how}
    if actor:
        d["actor"] = actor
    if notes:
        d["notes"] = notes
    if derived_from:
        d["derived_from"] = derived_from
    if extra:
        d.update(extra)
    d.update(kw)
    d["bytes"] = os.path.getsize(full)
    d["sha256"] = hashlib.sha256(open(full, "rb").read()).hexdigest()
    if verify:
        seen, rc, err = http_seen(full)
        want = [(r["method"], r["path"]) for r in rows]
        got = [(s["method"], s["uri"]) for s in seen]
        miss = list(want)
        for g in got:
            if g in miss:
                miss.remove(g)
        d["tshark"] = {
            "version": "4.0.17",
            "rc": rc,
            "http_requests_seen": len(seen),
            "imds_requests_seen": len(want) - len(miss),
            "imds_requests_labelled": len(want),
            "sees_all_labelled_imds_requests": not miss,
        }
        if miss:
            d["tshark"]["missing"] = [f"{m} {u}" for m, u in miss][:10]
        if err.strip():
            d["tshark"]["stderr"] = err.strip()[:200]
        # packet timestamps for the labelled requests (log ts is the server's clock on the same machine)
        pool = list(seen)
        for r in rows:
            for s in pool:
                if s["method"] == r["method"] and s["uri"] == r["path"] and str(r["client_port"]) == s["sport"]:
                    r["ts"] = s["ts"]
                    pool.remove(s)
                    break
    fn = rel.replace("/", "__") + ".json"
    json.dump(d, open(f"{OUT}/labels.d/{fn}", "w"))
    t = d.get("tshark", {})
    print(
        ("OK  " if t.get("sees_all_labelled_imds_requests", True) else "MISS"),
        rel,
        d["bytes"],
        "imds",
        len(rows),
        "seen",
        t.get("imds_requests_seen"),
        "dns",
        len(exp["dns_queries"]),
        "ssrf",
        len(exp["ssrf"]),
        flush=True,
    )
    return d


def assemble():
    ds = [json.load(open(f)) for f in sorted(glob.glob(OUT + "/labels.d/*.json"))]
    with open(OUT + "/labels.jsonl.tmp", "w") as f:
        for d in ds:
            f.write(json.dumps(d, ensure_ascii=False) + "\n")
    os.replace(OUT + "/labels.jsonl.tmp", OUT + "/labels.jsonl")
    print("labels", len(ds))


def loadlabel(file):
    return json.load(open(f"{OUT}/labels.d/{file.replace('/','__')}.json"))

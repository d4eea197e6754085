#!/bin/sh
# Lints the Helm chart, renders it with each kind of values, and checks what comes out, and the manifests of packaging/kubernetes,
# against the schemas of the oldest and the newest release of Kubernetes that are at hand (unknown keys are errors).
#
# usage: test-helm.sh [--fetch]    --fetch: only gets the schemas
#
# Wants helm, and for the schemas python3 with venv (kubernetes-validate, into target/helm-check). What is missing is said and left out.
set -eu
cd "$(dirname "$0")/.."
chart=packaging/helm/imdswatch
here=target/helm-check
mkdir -p "$here"
if [ ! -e "$here/.whole" ]; then
    { python3 -m venv "$here/venv" && "$here/venv/bin/pip" install -q kubernetes-validate; } >"$here/pip.log" 2>&1 && touch "$here/.whole"
fi
[ "${1:-}" != --fetch ] || exit 0

rendered=$here/rendered
rm -rf "$rendered"
mkdir "$rendered"
for file in packaging/kubernetes/*.yaml; do cp "$file" "$rendered/plain-${file##*/}"; done

if command -v helm >/dev/null; then
    helm lint --strict --quiet "$chart"
    render() { # NAME VALUES...
        name=$1
        shift
        helm template watch "$chart" --namespace security "$@" >"$rendered/$name.yaml"
    }
    render default
    render bare --set hostNetwork=false,processes=false
    render sidecar --set sidecar.enabled=true --show-only templates/sidecar.yaml
    cat >"$here/values.yaml" <<'END'
image: {repository: registry.example/imdswatch, tag: "1.2.3"}
imagePullSecrets: [{name: pull}]
filter: [host, 169.254.169.254]
extraArgs: ["--stats", "60"]
events: alerts
env: [{name: FINGERPRINT_KEY, valueFrom: {secretKeyRef: {name: imdswatch, key: fingerprint}}}]
config: |
  fingerprint_key = "${FINGERPRINT_KEY}"
  [[output]]
  to = "-"
nodeSelector: {kubernetes.io/os: linux}
podAnnotations: {example.com/team: security}
priorityClassName: system-node-critical
sidecar: {enabled: true}
END
    render everything --values "$here/values.yaml"
    # Not only well formed: what was set arrives.
    for wanted in 'image: "registry.example/imdswatch:1.2.3"' '- "--stats"' '- "169.254.169.254"' 'name: FINGERPRINT_KEY' \
        'priorityClassName: system-node-critical' 'example.com/team: security' 'kind: Pod'; do
        grep -qF -- "$wanted" "$rendered/everything.yaml" || { echo "test-helm: the chart lost $wanted" >&2; exit 1; }
    done
    ! grep -q 'SYS_PTRACE\|hostPID: true\|tracing' "$rendered/bare.yaml" || { echo "test-helm: processes=false still looks at processes" >&2; exit 1; }
else
    echo "skipped: the chart is not rendered without helm" >&2
fi

[ -e "$here/.whole" ] || { echo "skipped: no schemas of Kubernetes: $(tail -1 "$here/pip.log")" >&2; exit 0; }
"$here/venv/bin/python" - "$rendered"/*.yaml <<'END'
import sys

import kubernetes_validate
import yaml
from kubernetes_validate.utils import all_versions

releases = all_versions()
checked = 0
for path in sys.argv[1:]:
    for document in filter(None, yaml.safe_load_all(open(path))):
        for release in (releases[0], releases[-1]):
            try:
                kubernetes_validate.validate(document, release, strict=True)
            except kubernetes_validate.ValidationError as error:
                sys.exit(f"{path}, Kubernetes {release}: {'.'.join(map(str, error.path))}: {error.message}")
        checked += 1
print(f"test-helm: {checked} objects of {len(sys.argv) - 1} files hold for Kubernetes {releases[0]} and {releases[-1]}")
END

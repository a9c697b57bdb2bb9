"""Makes of manifests what `podman kube play` 4.3 can run: one file for each pod.

Usage: convert.py MANIFESTS SECRETS FOLDER. It writes FOLDER/KIND-NAME.yaml for each Deployment,
StatefulSet and Job, with the ConfigMaps and claims of the pod, and prints `KIND NAME`. What Podman lacks is
made up for: a Job or StatefulSet is a pod; Secrets are Podman's own for variables, and folders for volumes;
the user of a pod is that of its containers, and owns its volumes; values that refer to other variables
(`$(NAME)`) are put together here. Services, network policies and the namespace are left out.
"""

import base64
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import yaml

manifests, secrets_file, folder = sys.argv[1:]
folder = Path(folder)
documents = [d for d in yaml.safe_load_all(Path(manifests).read_text()) if d]
secrets = {d["metadata"]["name"]: d["stringData"] for d in yaml.safe_load_all(Path(secrets_file).read_text()) if d}
maps = {d["metadata"]["name"]: d for d in documents if d["kind"] == "ConfigMap"}


def owned(path, user, mode=0o700):
    path.mkdir(parents=True, exist_ok=True)
    os.chown(path, user, user)
    path.chmod(mode)


def secret_volume(name, optional, user):
    """A folder with the files of a Secret, which only the user of the pod reads."""
    path = folder / "secrets" / f"{name}-{user}"
    owned(path, user)
    if name not in secrets and not optional:
        sys.exit(f"convert.py: there is no Secret {name}")
    for key, value in secrets.get(name, {}).items():
        (path / key).write_text(value)
        os.chown(path / key, user, user)
        (path / key).chmod(0o440)
    return {"path": str(path), "type": "Directory"}


def variable(entry, known):
    """Puts `$(NAME)` together; a reference to a Secret alone stays one."""
    source = (entry.get("valueFrom") or {}).get("secretKeyRef")
    if source:
        known[entry["name"]] = secrets[source["name"]][source["key"]]
    elif "value" in entry:
        entry["value"] = re.sub(r"\$\((\w+)\)", lambda found: known[found[1]], entry["value"])
    return entry


def convert(document):
    kind, name = document["kind"], document["metadata"]["name"]
    spec = document["spec"]["template"]["spec"]
    context = spec["securityContext"]
    user = context["runAsUser"]
    for container in spec["containers"] + (spec.get("initContainers") or []):
        container["securityContext"] |= {"runAsUser": user, "runAsGroup": context["runAsGroup"]}
        known = {}
        container["env"] = [variable(entry, known) for entry in container.get("env") or []]
        # `httpGet` and `exec` of Podman need programs that the image lacks; the script asks itself.
        for field in ("startupProbe", "livenessProbe", "readinessProbe", "lifecycle"):
            container.pop(field, None)
        container.pop("ports", None) # Podman would publish them on the host.
    used = {s["configMapRef"]["name"] for c in spec["containers"] for s in c.get("envFrom") or []}
    for volume in spec.get("volumes") or []:
        if "secret" in volume:
            secret = volume.pop("secret")
            volume["hostPath"] = secret_volume(secret["secretName"], secret.get("optional"), user)
        elif "emptyDir" in volume:
            volume.pop("emptyDir")
            path = folder / "empty" / f"{name}-{volume['name']}"
            owned(path, user)
            volume["hostPath"] = {"path": str(path), "type": "Directory"}
        elif "configMap" in volume:
            used.add(volume["configMap"]["name"])
    for claim in document["spec"].get("volumeClaimTemplates") or []:
        path = folder / "claims" / f"{name}-{claim['metadata']['name']}"
        owned(path, user)
        spec.setdefault("volumes", []).append(
            {"name": claim["metadata"]["name"], "hostPath": {"path": str(path), "type": "Directory"}}
        )
    if spec.get("initContainers"):
        spec["restartPolicy"] = "OnFailure" # With `Always`, Podman repeats init containers for ever.
    if kind != "Deployment":
        document = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"{name}-0"}, "spec": spec}
    else:
        document["spec"]["replicas"] = 1
    parts = [maps[map_name] for map_name in sorted(used)] + [document]
    (folder / f"{kind}-{name}.yaml").write_text(yaml.safe_dump_all(parts))
    print(kind, name)


for name, data in secrets.items():
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    subprocess.run(["podman", "secret", "rm", name], capture_output=True)
    subprocess.run(["podman", "secret", "create", name, "-"], input=json.dumps(encoded).encode(), check=True, stdout=subprocess.DEVNULL)
for document in documents:
    if document["kind"] in ("Deployment", "StatefulSet", "Job"):
        convert(document)

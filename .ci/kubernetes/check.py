"""Checks rendered manifests for what their schemas do not say.

Usage: check.py OPTIONS SECRETS MANIFESTS..., where OPTIONS is the output of `--help` and SECRETS that of
deploy/kubernetes/secrets. Afterwards it breaks the manifests in many ways and expects each to be found.
"""

import os
import re
import sys
from pathlib import Path

import yaml

# Values of fields that the schemas take for any text.
ENUMS = {
    "restartPolicy": {"Always", "OnFailure", "Never"},
    "imagePullPolicy": {"Always", "IfNotPresent", "Never"},
    "whenUnsatisfiable": {"DoNotSchedule", "ScheduleAnyway"},
    "podManagementPolicy": {"OrderedReady", "Parallel"},
    "pathType": {"Exact", "Prefix", "ImplementationSpecific"},
    "protocol": {"TCP", "UDP", "SCTP"},
    "externalTrafficPolicy": {"Cluster", "Local"},
    "policyTypes": {"Ingress", "Egress"},
    "accessModes": {"ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"},
    "medium": {"", "Memory"},
    "operator": {"In", "NotIn", "Exists", "DoesNotExist"},
    "podAntiAffinityType": {"required", "preferred"},
    "dataDurability": {"required", "preferred"},
    "method": {"any", "first"},
    "ensure": {"present", "absent"},
}
# The same for `type`, by the field that holds the object, or the kind of the object.
TYPES = {
    "seccompProfile": {"RuntimeDefault"},
    "strategy": {"RollingUpdate", "Recreate"},
    "updateStrategy": {"RollingUpdate", "OnDelete"},
    "target": {"Utilization", "Value", "AverageValue"},
    "metrics": {"Resource", "Pods", "Object", "External", "ContainerResource"},
    "Service": {"ClusterIP", "NodePort", "LoadBalancer", "ExternalName"},
    "Secret": {"Opaque", "kubernetes.io/basic-auth", "kubernetes.io/tls"},
}
LEVELS = {"privileged", "baseline", "restricted"}
# Of Postgres, a release has two numbers; of everything else three. `tributary:dev` is built locally.
EXACT = re.compile(r"(.*/postgres(ql)?|postgres):\d+\.\d+(-[\w.-]+)?|.*:\d+\.\d+\.\d+(-[\w.-]+)?|.*@sha256:[0-9a-f]{64}|tributary:dev")


def texts(value):
    return [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, str)]


def enums(value, holder, errors, where):
    if isinstance(value, list):
        for item in value:
            enums(item, holder, errors, where)
    elif isinstance(value, dict):
        for field, inner in value.items():
            allowed = TYPES.get(holder) if field == "type" else ENUMS.get(field)
            for text in texts(inner):
                if allowed and text not in allowed:
                    errors.append(f"{where}: {field}: {text} is none of {sorted(allowed)}")
            if field.startswith("pod-security.kubernetes.io/") and inner not in LEVELS:
                errors.append(f"{where}: {field}: {inner} is none of {sorted(LEVELS)}")
            enums(inner, holder if field == "spec" else field, errors, where)


def matches(selector, labels):
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for expression in selector.get("matchExpressions") or []:
        value = labels.get(expression["key"])
        wanted = {"In": value in expression.get("values", []), "Exists": value is not None}
        if not wanted[expression["operator"]]:
            return False
    return True


class Manifests:
    def __init__(self, text):
        self.objects = [item for item in yaml.safe_load_all(text) if item]
        self.pods = {}
        for item in self.objects:
            if item["kind"] in ("Deployment", "StatefulSet", "Job"):
                self.pods[f"{item['kind']} {item['metadata']['name']}"] = item["spec"]["template"]
        # The operator makes these pods.
        self.made = [i["spec"]["inheritedMetadata"]["labels"] for i in self.of("Cluster")]

    def of(self, kind):
        return [item for item in self.objects if item["kind"] == kind]

    def labels(self):
        return [pod["metadata"]["labels"] for pod in self.pods.values()] + self.made


def restricted(where, pod, errors):
    spec = pod["spec"]
    context = spec.get("securityContext") or {}
    wanted = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    for field, value in wanted.items():
        if context.get(field) != value:
            errors.append(f"{where}: securityContext.{field} is not {value}")
    if not context.get("runAsUser"):
        errors.append(f"{where}: securityContext.runAsUser is not set")
    if spec.get("automountServiceAccountToken") is not False:
        errors.append(f"{where}: the token of the service account is mounted")
    if spec.get("enableServiceLinks") is not False:
        errors.append(f"{where}: variables of Services are mixed with options")
    for volume in spec.get("volumes") or []:
        if "hostPath" in volume:
            errors.append(f"{where}: volume {volume['name']} is a path of the node")
    for container in spec["containers"] + (spec.get("initContainers") or []):
        inner = container.get("securityContext") or {}
        wanted = {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        for field, value in wanted.items():
            if inner.get(field) != value:
                errors.append(f"{where}: {container['name']}: securityContext.{field} is not {value}")
        if "memory" not in ((container.get("resources") or {}).get("limits") or {}):
            errors.append(f"{where}: {container['name']}: no limit of memory")
        if not EXACT.fullmatch(container["image"]):
            errors.append(f"{where}: {container['name']}: {container['image']} is no exact version")


def references(where, pod, maps, secrets, options, errors):
    """ConfigMaps, Secrets and their keys exist, and each variable of Tributary is an option."""
    spec = pod["spec"]
    sources = {"configMapKeyRef": maps, "secretKeyRef": secrets}
    for container in spec["containers"] + (spec.get("initContainers") or []):
        names = []
        for source in container.get("envFrom") or []:
            name = source["configMapRef"]["name"]
            if name not in maps:
                errors.append(f"{where}: there is no ConfigMap {name}")
            names += maps.get(name, [])
        for variable in container.get("env") or []:
            names.append(variable["name"])
            for kind, known in sources.items():
                reference = (variable.get("valueFrom") or {}).get(kind)
                if reference and reference["key"] not in known.get(reference["name"], []):
                    errors.append(f"{where}: {reference['name']} has no key {reference['key']}")
        if container["name"] == "tributary":
            for name in names:
                if name not in options:
                    errors.append(f"{where}: {name} is not an option of Tributary")
        mounted = {mount["name"] for mount in container.get("volumeMounts") or []}
        claims = pod.get("claims") or set()
        for name in mounted - {volume["name"] for volume in spec.get("volumes") or []} - claims:
            errors.append(f"{where}: {container['name']}: there is no volume {name}")
    for volume in spec.get("volumes") or []:
        name = (volume.get("configMap") or {}).get("name")
        if name and name not in maps:
            errors.append(f"{where}: there is no ConfigMap {name}")
        secret = volume.get("secret") or {}
        if secret and not secret.get("optional") and secret["secretName"] not in secrets:
            errors.append(f"{where}: there is no Secret {secret['secretName']}")


def connected(manifests, metrics, errors):
    """What selects pods selects some, and named ports, autoscaled Deployments and metrics exist."""
    ports = {}
    for pod in manifests.pods.values():
        for container in pod["spec"]["containers"]:
            named = {port["name"] for port in container.get("ports") or []}
            probes = [container.get(kind) for kind in ("startupProbe", "livenessProbe", "readinessProbe")]
            for probe in filter(None, probes):
                port = (probe.get("httpGet") or probe.get("tcpSocket") or {}).get("port")
                if port and port not in named:
                    errors.append(f"{container['name']}: a probe of the unknown port {port}")
            for key in pod["metadata"]["labels"].items():
                ports.setdefault(key, set()).update(named)
    for kind in ("Service", "PodDisruptionBudget", "NetworkPolicy"):
        for item in manifests.of(kind):
            name, spec = f"{kind} {item['metadata']['name']}", item["spec"]
            if kind == "Service":
                selector = {"matchLabels": spec["selector"]}
                found = set().union(*(ports.get(key, set()) for key in spec["selector"].items()))
                for port in spec["ports"]:
                    if port["targetPort"] not in found:
                        errors.append(f"{name}: no pod has a port {port['targetPort']}")
            else:
                selector = spec.get("selector") or spec.get("podSelector")
            operators = [e["key"] for e in selector.get("matchExpressions") or []]
            if "cnpg.io/jobRole" in operators:
                continue # The operator makes these pods.
            if not any(matches(selector, labels) for labels in manifests.labels()):
                errors.append(f"{name}: selects no pod")
            for rule in (spec.get("ingress") or []) + (spec.get("egress") or []):
                for peer in (rule.get("from") or []) + (rule.get("to") or []):
                    inner = peer.get("podSelector")
                    if inner and not any(matches(inner, labels) for labels in manifests.labels()):
                        errors.append(f"{name}: a peer {inner} is no pod")
    for item in manifests.of("HorizontalPodAutoscaler"):
        name = item["metadata"]["name"]
        if f"Deployment {item['spec']['scaleTargetRef']['name']}" not in manifests.pods:
            errors.append(f"autoscaler {name}: there is no such Deployment")
        for metric in item["spec"]["metrics"]:
            inner = metric.get("pods") or metric.get("external")
            if inner and inner["metric"]["name"] not in metrics:
                errors.append(f"autoscaler {name}: /metrics has no {inner['metric']['name']}")
    for item in manifests.of("Ingress"):
        for rule in item["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                service = path["backend"]["service"]["name"]
                if service not in [s["metadata"]["name"] for s in manifests.of("Service")]:
                    errors.append(f"Ingress: there is no Service {service}")
    denies = [p for p in manifests.of("NetworkPolicy") if p["spec"]["podSelector"] == {}]
    if not any(p["spec"].get("policyTypes") == ["Ingress", "Egress"] and len(p["spec"]) == 2 for p in denies):
        errors.append("no NetworkPolicy denies by default")


def operator(manifests, errors):
    """The Cluster of CloudNativePG, against the definition in CNPG_CRD."""
    path = os.environ.get("CNPG_CRD")
    if not path:
        return
    import jsonschema

    definition = yaml.safe_load(Path(path).read_text())
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]

    def close(part):
        if isinstance(part, dict):
            if "properties" in part and "x-kubernetes-preserve-unknown-fields" not in part:
                part.setdefault("additionalProperties", False)
            for inner in part.values():
                close(inner)
        elif isinstance(part, list):
            for inner in part:
                close(inner)

    close(schema["properties"]["spec"])
    for item in manifests.of("Cluster"):
        for error in jsonschema.Draft7Validator(schema).iter_errors(item):
            errors.append(f"Cluster: {'.'.join(map(str, error.path))}: {error.message}")


def check(text, secrets, options, metrics):
    errors = []
    manifests = Manifests(text)
    maps = {item["metadata"]["name"]: list(item["data"]) for item in manifests.of("ConfigMap")}
    for item in manifests.objects:
        where = f"{item['kind']} {item['metadata']['name']}"
        enums(item, item["kind"], errors, where)
        if item["kind"] == "Secret":
            errors.append(f"{where}: a Secret is among the manifests")
        if item["kind"] == "StatefulSet":
            item["spec"]["template"]["claims"] = {c["metadata"]["name"] for c in item["spec"]["volumeClaimTemplates"]}
    for where, pod in manifests.pods.items():
        restricted(where, pod, errors)
        references(where, pod, maps, secrets, options, errors)
    for item in manifests.of("Cluster"):
        if not EXACT.fullmatch(item["spec"]["imageName"]):
            errors.append(f"Cluster: {item['spec']['imageName']} is no exact version")
    connected(manifests, metrics, errors)
    operator(manifests, errors)
    return errors


# Faults that the check must find: a text of the manifests of production, and what it becomes.
FAULTS = [
    ("whenUnsatisfiable: ScheduleAnyway", "whenUnsatisfiable: Perhaps"),
    ("pathType: Prefix", "pathType: Begin"),
    ("enforce: restricted", "enforce: strict"),
    ("type: Recreate", "type: Replace"),
    ("type: LoadBalancer", "type: Balancer"),
    ("type: Utilization", "type: Usage"),
    ("dataDurability: required", "dataDurability: must"),
    ("restartPolicy: OnFailure", "restartPolicy: OnError"),
    ("runAsNonRoot: true", "runAsNonRoot: false"),
    ("readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false"),
    ("        - ALL", "        - NET_RAW"),
    ("enableServiceLinks: false", "enableServiceLinks: true"),
    ("automountServiceAccountToken: false", "automountServiceAccountToken: true"),
    ("image: nats:2.", "image: nats:latest-2."),
    ("image: eclipse-mosquitto:2.1.2-alpine", "image: eclipse-mosquitto:2"),
    ("name: MQTT_FILTER", "name: MQTT_FILTERS"),
    ("METRICS_LISTEN: ", "METRICS_LISTENS: "),
    ("key: gateway", "key: gatewey"),
    ("secretName: signing-key", "secretName: signing-keys"),
    ("configMap:\n          name: mosquitto-settings-", "configMap:\n          name: mosquitto-setting-"),
    ("targetPort: http", "targetPort: https"),
    ("port: metrics", "port: metric"),
    ("  selector:\n    server: nats", "  selector:\n    server: nat"),
    ("name: tributary_projection_seconds_behind", "name: tributary_projection_lag"),
    ("kind: Deployment\n    name: projector", "kind: Deployment\n    name: projectors"),
    ("            name: http\n", "            name: https\n"),
    ("  name: default-deny\n  namespace: tributary\nspec:\n  podSelector: {}", "  name: default-deny\n  namespace: tributary\nspec:\n  podSelector:\n    matchLabels: {server: nats}"),
    ("imageName: ghcr.io/cloudnative-pg/postgresql:17.6", "imageName: ghcr.io/cloudnative-pg/postgresql:17"),
    ("kind: Namespace", "kind: Secret"),
]


def main():
    options_file, secrets_file, *files = sys.argv[1:]
    options = set(re.findall(r"\[env: (\w+)", Path(options_file).read_text()))
    secrets = {
        item["metadata"]["name"]: list(item["stringData"])
        for item in yaml.safe_load_all(Path(secrets_file).read_text())
        if item
    }
    pinned = Path("tests/tests/it/pinned.rs").read_text()
    metrics = set(re.findall(r'"(tributary_\w+)', pinned))
    for file in files:
        text = Path(file).read_text()
        errors = check(text, secrets, options, metrics)
        if errors:
            sys.exit("\n".join(f"{Path(file).name}: {error}" for error in errors))
        objects = len(Manifests(text).objects)
        print(f"kubernetes: {Path(file).name}: {objects} objects are valid")
    for old, new in FAULTS:
        if old not in text:
            sys.exit(f"check.py: production has no {old!r}: update FAULTS")
        if not check(text.replace(old, new), secrets, options, metrics):
            sys.exit(f"check.py: {new!r} in place of {old!r} is not found")
    print(f"kubernetes: {len(FAULTS)} deliberate faults were found")
    if not os.environ.get("CNPG_CRD"):
        print("kubernetes: the Cluster of CloudNativePG was not validated: CNPG_CRD is not set")


main()

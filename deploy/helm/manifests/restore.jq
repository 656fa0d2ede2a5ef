# Makes of the chart's StatefulSet or Deployment a pod that restores a backup from its standard input. $claim names the
# empty volume for SQLite.
{
  apiVersion: "v1",
  kind: "Pod",
  metadata: {
    name: "wharfinger-restore",
    namespace: .metadata.namespace,
    labels: .spec.template.metadata.labels
  },
  spec: (
    .spec.template.spec
    | .restartPolicy = "Never"
    | del(.topologySpreadConstraints)
    | (.volumes[] | select(.name == "data" and has("persistentVolumeClaim")).persistentVolumeClaim.claimName) = $claim
    | .containers[0] |= (
        .args = ["restore", "-"]
        | .stdin = true
        | .stdinOnce = true
        # Services find no port of this pod.
        | del(.ports, .startupProbe, .livenessProbe, .readinessProbe, .lifecycle)
      )
  )
}

{{- define "wharfinger.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "wharfinger.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "wharfinger.labels" -}}
{{ include "wharfinger.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "wharfinger.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "wharfinger.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{- define "wharfinger.image" -}}
{{- $repository := required "image.repository is required: the registry and the repository of the image" .Values.image.repository -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{- define "wharfinger.host" -}}
{{- (urlParse .Values.publicUrl).hostname -}}
{{- end -}}

{{/* The path of the public URL without a slash at its end: empty for most. */}}
{{- define "wharfinger.path" -}}
{{- (urlParse .Values.publicUrl).path | trimSuffix "/" -}}
{{- end -}}

{{- define "wharfinger.tlsSecret" -}}
{{- .Values.tls.secretName | default (printf "%s-tls" (include "wharfinger.fullname" .)) -}}
{{- end -}}

{{- define "wharfinger.claim" -}}
{{- .Values.storage.existingClaim | default (printf "%s-data" (include "wharfinger.fullname" .)) -}}
{{- end -}}

{{/* The Secrets in use: a map from the name of each file to its Secret. */}}
{{- define "wharfinger.secrets" -}}
{{- $used := dict -}}
{{- range $name, $secret := .Values.secrets -}}
{{- if $secret.name -}}
{{- $_ := set $used (kebabcase $name) $secret -}}
{{- end -}}
{{- end -}}
{{- toYaml $used -}}
{{- end -}}

{{/* The text of a value of a setting. Helm reads numbers as floats, and would write a million as 1e+06. */}}
{{- define "wharfinger.text" -}}
{{- if kindIs "float64" . -}}
{{- printf "%d" (int64 .) -}}
{{- else if kindIs "slice" . -}}
{{- join "," . -}}
{{- else -}}
{{- toString . -}}
{{- end -}}
{{- end -}}

{{- define "wharfinger.grace" -}}
{{- $preStop := ternary (int .Values.preStopSeconds) 0 (eq .Values.database.kind "postgresql") -}}
{{- add (int .Values.shutdownSeconds) $preStop 15 -}}
{{- end -}}

{{/* The schema refuses some of these as well. Users can skip it, and its messages do not say why. */}}
{{- define "wharfinger.check" -}}
{{- if and (eq .Values.database.kind "sqlite") (gt (int .Values.replicas) 1) -}}
{{- fail (printf "replicas is %d, and database.kind is sqlite: one process serves an SQLite database. Set replicas to 1, or database.kind to postgresql." (int .Values.replicas)) -}}
{{- end -}}
{{- if and (eq .Values.database.kind "sqlite") .Values.secrets.databaseUrl.name -}}
{{- fail "secrets.databaseUrl is for PostgreSQL: set database.kind to postgresql, or leave it out." -}}
{{- end -}}
{{- if eq .Values.database.kind "postgresql" -}}
{{- if not .Values.secrets.databaseUrl.name -}}
{{- fail "secrets.databaseUrl.name is required for PostgreSQL: a Secret with the database's URL." -}}
{{- end -}}
{{- if not .Values.secrets.serverKey.name -}}
{{- fail "secrets.serverKey.name is required for PostgreSQL: all replicas share one server key." -}}
{{- end -}}
{{- end -}}
{{- if and .Values.ingress.enabled (include "wharfinger.path" .) -}}
{{- fail "publicUrl has a path, which an Ingress cannot remove: use a host of its own, or a Gateway." -}}
{{- end -}}
{{- if and .Values.gateway.enabled (not .Values.gateway.parentRefs) -}}
{{- fail "gateway.parentRefs is required: the Gateways to attach to." -}}
{{- end -}}
{{- if and .Values.tls.certManager.enabled (not .Values.tls.enabled) -}}
{{- fail "tls.certManager needs tls.enabled. The certificate of an Ingress comes from its annotations." -}}
{{- end -}}
{{- if and .Values.tls.certManager.enabled (not .Values.tls.certManager.issuerRef.name) -}}
{{- fail "tls.certManager.issuerRef.name is required." -}}
{{- end -}}
{{- if and .Values.tls.enabled (not .Values.tls.certManager.enabled) (not .Values.tls.secretName) -}}
{{- fail "tls.enabled needs tls.secretName or tls.certManager.enabled." -}}
{{- end -}}
{{- if and (ne .Values.service.type "ClusterIP") (not .Values.tls.enabled) (not .Values.service.plainHttp) -}}
{{- fail (printf "service.type is %s, and nothing ends TLS: passwords and tokens would cross the network in clear. Set tls.enabled, or service.plainHttp if a load balancer ends TLS." .Values.service.type) -}}
{{- end -}}
{{- if and .Values.networkPolicy.enabled (not .Values.networkPolicy.ingressFrom) (not .Values.networkPolicy.registriesFrom) -}}
{{- fail "networkPolicy needs ingressFrom or registriesFrom: nobody could reach the service." -}}
{{- end -}}
{{- if and .Values.networkPolicy.enabled (eq .Values.database.kind "postgresql") (not .Values.networkPolicy.databaseTo) -}}
{{- fail "networkPolicy.databaseTo is required for PostgreSQL: the service could not reach it." -}}
{{- end -}}
{{- if and (or .Values.metrics.serviceMonitor.enabled .Values.metrics.prometheusRule.enabled) (not .Values.metrics.enabled) -}}
{{- fail "metrics.serviceMonitor and metrics.prometheusRule need metrics.enabled." -}}
{{- end -}}
{{- end -}}

{{/* The pod of both kinds of workload. */}}
{{- define "wharfinger.pod" -}}
{{- $secrets := include "wharfinger.secrets" . | fromYaml -}}
metadata:
  labels:
    {{- include "wharfinger.labels" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .Values.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "wharfinger.serviceAccount" . }}
  automountServiceAccountToken: false
  # A Service called wharfinger would otherwise set variables that begin like those of the settings.
  enableServiceLinks: false
  # Longer than --shutdown-timeout.
  terminationGracePeriodSeconds: {{ include "wharfinger.grace" . }}
  {{- with .Values.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    fsGroup: 65532
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile:
      type: RuntimeDefault
  containers:
    - name: wharfinger
      image: {{ include "wharfinger.image" . | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args:
        - serve
      env:
        - name: WHARFINGER_LISTEN
          value: {{ printf "%s:8080" .Values.listenAddress | quote }}
        - name: WHARFINGER_DATA_DIR
          value: /var/lib/wharfinger
        # SQLite's temporary files can be larger than /tmp.
        - name: SQLITE_TMPDIR
          value: /var/lib/wharfinger
        - name: WHARFINGER_PUBLIC_URL
          value: {{ required "publicUrl is required: the URL that clients use" .Values.publicUrl | quote }}
        - name: WHARFINGER_SHUTDOWN_TIMEOUT
          value: {{ printf "%ds" (int .Values.shutdownSeconds) | quote }}
        {{- if .Values.tls.enabled }}
        - name: WHARFINGER_TLS_CERT
          value: /etc/wharfinger/tls/tls.crt
        - name: WHARFINGER_TLS_KEY
          value: /etc/wharfinger/tls/tls.key
        {{- else }}
        - name: WHARFINGER_PLAIN_HTTP
          value: "true"
        {{- end }}
        {{- if .Values.metrics.enabled }}
        - name: WHARFINGER_METRICS_LISTEN
          value: {{ printf "%s:%d" .Values.listenAddress (int .Values.metrics.port) | quote }}
        {{- end }}
        {{- range $file, $_ := $secrets }}
        - name: WHARFINGER_{{ $file | replace "-" "_" | upper }}_FILE
          value: /etc/wharfinger/secrets/{{ $file }}
        {{- end }}
        {{- range $flag, $value := .Values.settings }}
        - name: WHARFINGER_{{ $flag | replace "-" "_" | upper }}
          value: {{ include "wharfinger.text" $value | quote }}
        {{- end }}
      ports:
        - name: http
          containerPort: 8080
          protocol: TCP
        {{- if .Values.metrics.enabled }}
        - name: metrics
          containerPort: {{ .Values.metrics.port }}
          protocol: TCP
        {{- end }}
      {{- $scheme := ternary "HTTPS" "HTTP" .Values.tls.enabled }}
      # The program listens when its migrations are done.
      startupProbe:
        httpGet:
          path: /healthz
          port: http
          scheme: {{ $scheme }}
        periodSeconds: 2
        failureThreshold: {{ div (add (int .Values.startupSeconds) 1) 2 }}
      # A restart does not bring a database back, so this probe does not depend on the database.
      livenessProbe:
        httpGet:
          path: /healthz
          port: http
          scheme: {{ $scheme }}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      readinessProbe:
        httpGet:
          path: /readyz
          port: http
          scheme: {{ $scheme }}
        periodSeconds: 5
        timeoutSeconds: 5
        failureThreshold: 2
      {{- if and (eq .Values.database.kind "postgresql") (gt (int .Values.preStopSeconds) 0) }}
      # After the signal the program takes no new connections, and nodes still send some for a moment.
      lifecycle:
        preStop:
          sleep:
            seconds: {{ .Values.preStopSeconds }}
      {{- end }}
      {{- with .Values.resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        runAsNonRoot: true
        capabilities:
          drop:
            - ALL
      volumeMounts:
        - name: data
          mountPath: /var/lib/wharfinger
        - name: tmp
          mountPath: /tmp
        {{- if $secrets }}
        - name: secrets
          mountPath: /etc/wharfinger/secrets
          readOnly: true
        {{- end }}
        {{- if .Values.tls.enabled }}
        # The whole folder: Kubernetes does not update a file that is mounted by subPath.
        - name: tls
          mountPath: /etc/wharfinger/tls
          readOnly: true
        {{- end }}
        {{- if .Values.database.caSecret.name }}
        - name: database-ca
          mountPath: /etc/wharfinger/database-ca
          readOnly: true
        {{- end }}
        {{- with .Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: data
      {{- if eq .Values.database.kind "sqlite" }}
      persistentVolumeClaim:
        claimName: {{ include "wharfinger.claim" . }}
      {{- else }}
      emptyDir:
        sizeLimit: 16Mi
      {{- end }}
    - name: tmp
      emptyDir:
        sizeLimit: 64Mi
    {{- if $secrets }}
    - name: secrets
      projected:
        defaultMode: 0440
        sources:
          {{- range $file, $secret := $secrets }}
          - secret:
              name: {{ $secret.name }}
              items:
                - key: {{ $secret.key }}
                  path: {{ $file }}
          {{- end }}
    {{- end }}
    {{- if .Values.tls.enabled }}
    - name: tls
      secret:
        secretName: {{ include "wharfinger.tlsSecret" . }}
        defaultMode: 0440
    {{- end }}
    {{- with .Values.database.caSecret }}
    {{- if .name }}
    - name: database-ca
      secret:
        secretName: {{ .name }}
        defaultMode: 0440
        items:
          - key: {{ .key }}
            path: ca.crt
    {{- end }}
    {{- end }}
    {{- with .Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- if .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- toYaml .Values.topologySpreadConstraints | nindent 4 }}
  {{- else if eq .Values.database.kind "postgresql" }}
  topologySpreadConstraints:
    {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
    - maxSkew: 1
      topologyKey: {{ . }}
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "wharfinger.selector" $ | nindent 10 }}
      matchLabelKeys:
        - pod-template-hash
    {{- end }}
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{- define "wharfinger.metadata" -}}
name: {{ include "wharfinger.fullname" . }}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "wharfinger.labels" . | nindent 2 }}
{{- end -}}

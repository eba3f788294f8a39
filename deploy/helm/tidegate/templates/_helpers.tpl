{{/* Port of each role's own address. */}}
{{- define "tidegate.port" -}}
{{- get (dict "gateway" 8080 "api" 8081 "worker" 8082 "sink" 8083 "notify" 8084) . -}}
{{- end -}}

{{- define "tidegate.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{/* The name of a role's objects; (list $ role) */}}
{{- define "tidegate.name" -}}
{{- $root := index . 0 -}}
{{- printf "%s-%s" $root.Release.Name (index . 1) | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* What selects a role's pods; (list $ role) */}}
{{- define "tidegate.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: tidegate
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "tidegate.labels" -}}
{{- $root := index . 0 -}}
{{ include "tidegate.selector" . }}
app.kubernetes.io/part-of: tidegate
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ $root.Chart.Name }}-{{ $root.Chart.Version }}
{{- end -}}

{{/* Environment of a role, or of the hooks as `operator`; (list $ role) */}}
{{- define "tidegate.env" -}}
{{- $root := index . 0 -}}{{- $role := index . 1 -}}
{{- $v := $root.Values -}}
{{- $env := dict
  "TIDEGATE_KAFKA_BOOTSTRAP" (required "kafka.bootstrap is required" $v.kafka.bootstrap)
  "TIDEGATE_KAFKA_PARTITIONS" $v.kafka.partitions
  "TIDEGATE_KAFKA_REPLICATION" $v.kafka.replication
  "TIDEGATE_KAFKA_SECURITY_PROTOCOL" $v.kafka.securityProtocol
  "TIDEGATE_CLICKHOUSE_URL" (required "clickhouse.url is required" $v.clickhouse.url)
  "TIDEGATE_CLICKHOUSE_DATABASE" $v.clickhouse.database
  "TIDEGATE_CONTROL_KEY_FILE" "/etc/tidegate/control-key/control-key.json"
  "TIDEGATE_TOKENS_FILE" "/etc/tidegate/tokens/tokens.json" -}}
{{- if and $v.tracing.endpoint (has $role (list "gateway" "worker" "sink")) -}}
{{- $_ := set $env "TIDEGATE_OTEL_ENDPOINT" $v.tracing.endpoint -}}
{{- $_ := set $env "TIDEGATE_OTEL_SHARE" $v.tracing.share -}}
{{- end -}}
{{- if ne $role "operator" -}}
{{- $_ := set $env "TIDEGATE_METRICS_LISTEN" "0.0.0.0:9100" -}}
{{- $_ := set $env (printf "TIDEGATE_%s_LISTEN" (upper $role)) (printf "0.0.0.0:%s" (include "tidegate.port" $role)) -}}
{{- end -}}
{{- if $v.kafka.saslMechanism -}}
{{- $_ := set $env "TIDEGATE_KAFKA_SASL_MECHANISM" $v.kafka.saslMechanism -}}
{{- $_ := set $env "TIDEGATE_KAFKA_SASL_PASSWORD_FILE" "/etc/tidegate/kafka-user/password" -}}
{{- end -}}
{{- if $v.kafka.caSecret }}{{ $_ := set $env "TIDEGATE_KAFKA_CA_FILE" "/etc/tidegate/kafka-ca/ca.crt" }}{{ end -}}
{{- if $v.kafka.certSecret -}}
{{- $_ := set $env "TIDEGATE_KAFKA_CERT_FILE" "/etc/tidegate/kafka-cert/tls.crt" -}}
{{- $_ := set $env "TIDEGATE_KAFKA_KEY_FILE" "/etc/tidegate/kafka-cert/tls.key" -}}
{{- end -}}
{{- if $v.clickhouse.passwordSecret }}{{ $_ := set $env "TIDEGATE_CLICKHOUSE_PASSWORD_FILE" "/etc/tidegate/clickhouse/password" }}{{ end -}}
{{- if $v.clickhouse.caSecret }}{{ $_ := set $env "TIDEGATE_CLICKHOUSE_CA_FILE" "/etc/tidegate/clickhouse-ca/ca.crt" }}{{ end -}}
{{- if $v.clickhouse.cluster }}{{ $_ := set $env "TIDEGATE_CLICKHOUSE_CLUSTER" $v.clickhouse.cluster }}{{ end -}}
{{- if and $v.secrets.tls (has $role (list "gateway" "api")) -}}
{{- $_ := set $env "TIDEGATE_TLS_CERT_FILE" "/etc/tidegate/tls/tls.crt" -}}
{{- $_ := set $env "TIDEGATE_TLS_KEY_FILE" "/etc/tidegate/tls/tls.key" -}}
{{- end -}}
{{- if has $role (list "api" "notify") -}}
{{- if $v.webhooks.claim }}{{ $_ := set $env "TIDEGATE_WEBHOOKS_FILE" "/var/lib/tidegate-webhooks/webhooks.json" }}
{{- else if $v.webhooks.secret }}{{ $_ := set $env "TIDEGATE_WEBHOOKS_FILE" "/etc/tidegate/webhooks/webhooks.json" }}
{{- else if eq $role "notify" }}{{ fail "webhooks.claim or webhooks.secret is required with notify" }}{{ end -}}
{{- end -}}
{{- if eq $role "api" -}}
{{- $_ := set $env "TIDEGATE_LINK_KEY_FILE" "/etc/tidegate/api-keys/link-key.json" -}}
{{- $_ := set $env "TIDEGATE_PSEUDONYM_KEY_FILE" "/etc/tidegate/api-keys/pseudonym-key.json" -}}
{{- end -}}
{{- if and $v.pseudonymise (has $role (list "api" "worker")) -}}
{{- $_ := set $env "TIDEGATE_PSEUDONYMISE" "true" -}}
{{- if eq $role "worker" }}{{ $_ := set $env "TIDEGATE_PSEUDONYM_KEY_FILE" "/etc/tidegate/pseudonym-key/pseudonym-key.json" }}{{ end -}}
{{- end -}}
{{- $own := get $v $role | default dict -}}
{{- $all := mergeOverwrite $env (deepCopy $v.env) (deepCopy ($own.env | default dict)) -}}
{{- range $name := keys $all | sortAlpha }}
- name: {{ $name }}
  value: {{ get $all $name | toString | quote }}
{{- end }}
{{- if $v.kafka.saslMechanism }}
- name: TIDEGATE_KAFKA_SASL_USERNAME
  valueFrom:
    secretKeyRef: {name: {{ include "tidegate.kafkaUser" . }}, key: username}
{{- end }}
{{- end -}}

{{- define "tidegate.kafkaUser" -}}
{{- $root := index . 0 -}}{{- $role := index . 1 -}}
{{- required (printf "kafka.users.%s is required with kafka.saslMechanism" $role) (get $root.Values.kafka.users $role) -}}
{{- end -}}

{{/* Secrets of a role by the folder under /etc/tidegate; a JSON object; (list $ role) */}}
{{- define "tidegate.secrets" -}}
{{- $root := index . 0 -}}{{- $role := index . 1 -}}
{{- $v := $root.Values -}}
{{- $all := dict "control-key" (required "secrets.controlKey is required" $v.secrets.controlKey) -}}
{{- if ne $role "operator" -}}
{{- $_ := set $all "tokens" (required "secrets.tokens is required" $v.secrets.tokens) -}}
{{- end -}}
{{- if $v.kafka.saslMechanism }}{{ $_ := set $all "kafka-user" (include "tidegate.kafkaUser" .) }}{{ end -}}
{{- if $v.kafka.caSecret }}{{ $_ := set $all "kafka-ca" $v.kafka.caSecret }}{{ end -}}
{{- if $v.kafka.certSecret }}{{ $_ := set $all "kafka-cert" $v.kafka.certSecret }}{{ end -}}
{{- if $v.clickhouse.passwordSecret }}{{ $_ := set $all "clickhouse" $v.clickhouse.passwordSecret }}{{ end -}}
{{- if $v.clickhouse.caSecret }}{{ $_ := set $all "clickhouse-ca" $v.clickhouse.caSecret }}{{ end -}}
{{- if and $v.secrets.tls (has $role (list "gateway" "api")) }}{{ $_ := set $all "tls" $v.secrets.tls }}{{ end -}}
{{- if and (has $role (list "api" "notify")) $v.webhooks.secret (not $v.webhooks.claim) }}{{ $_ := set $all "webhooks" $v.webhooks.secret }}{{ end -}}
{{- if and $v.pseudonymise (eq $role "worker") }}{{ $_ := set $all "pseudonym-key" (required "secrets.pseudonymKey is required with pseudonymise" $v.secrets.pseudonymKey) }}{{ end -}}
{{- if eq $role "api" }}{{ $_ := set $all "api-keys" (required "secrets.apiKeys is required with api" $v.secrets.apiKeys) }}{{ end -}}
{{- toJson $all -}}
{{- end -}}

{{- define "tidegate.volumes" -}}
- name: data
  emptyDir: {}
- name: tmp
  emptyDir: {}
{{- if and (index . 0).Values.webhooks.claim (has (index . 1) (list "api" "notify")) }}
- name: webhooks
  persistentVolumeClaim: {claimName: {{ (index . 0).Values.webhooks.claim }}}
{{- end }}
{{- range $folder, $secret := fromJson (include "tidegate.secrets" .) }}
- name: {{ $folder }}
  secret: {secretName: {{ $secret }}, defaultMode: 0440}
{{- end }}
{{- end -}}

{{- define "tidegate.mounts" -}}
- {name: data, mountPath: /var/lib/tidegate}
- {name: tmp, mountPath: /tmp}
{{- if and (index . 0).Values.webhooks.claim (has (index . 1) (list "api" "notify")) }}
- {name: webhooks, mountPath: /var/lib/tidegate-webhooks}
{{- end }}
{{- range $folder, $secret := fromJson (include "tidegate.secrets" .) }}
- {name: {{ $folder }}, mountPath: /etc/tidegate/{{ $folder }}, readOnly: true}
{{- end }}
{{- end -}}

{{/* What every pod has alike: nobody's user, no token of the API server, no links of services. */}}
{{- define "tidegate.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{ toJson . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{ toJson . }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{ toJson . }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{ toJson . }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{/* Of a container whose port `http` has the status pages; its argument: whether they are by HTTPS. */}}
{{- define "tidegate.probes" -}}
{{- $scheme := ternary "HTTPS" "HTTP" (not (empty .)) -}}
startupProbe:
  httpGet: {path: /healthz, port: http, scheme: {{ $scheme }}}
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /healthz, port: http, scheme: {{ $scheme }}}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: http, scheme: {{ $scheme }}}
  periodSeconds: 5
  timeoutSeconds: 5
{{- end -}}

{{- define "tidegate.spread" -}}
{{- $of := . -}}
{{- range (index . 0).Values.topologySpread }}
- {{ toJson . | trimSuffix "}" }},"labelSelector":{"matchLabels":{{ include "tidegate.selector" $of | fromYaml | toJson }}}}
{{- end }}
{{- end -}}

{{/* Ports that a kind of connector is sent to, beside its status pages; a JSON array. */}}
{{- define "tidegate.connectPorts" -}}
{{- $http := list (dict "name" "http" "protocol" "TCP" "port" 8085) -}}
{{- $kinds := dict "mist" $http "meraki" $http "openwifi" list
  "radius" (list (dict "name" "radius" "protocol" "UDP" "port" 1813))
  "hostapd" (list (dict "name" "syslog" "protocol" "UDP" "port" 5514) (dict "name" "syslog-tcp" "protocol" "TCP" "port" 5514)) -}}
{{- if not (hasKey $kinds .) }}{{ fail (printf "a connector's kind is one of hostapd, meraki, mist, openwifi and radius, not %q" .) }}{{ end -}}
{{- get $kinds . | toJson -}}
{{- end -}}

{{/* The components of the connectors, by which policies know them; a JSON array. */}}
{{- define "tidegate.connectComponents" -}}
{{- $found := list -}}
{{- range $name, $_ := .Values.connectors }}{{ $found = append $found (printf "connect-%s" $name) }}{{ end -}}
{{- toJson $found -}}
{{- end -}}

{{- define "tidegate.container" -}}
image: {{ include "tidegate.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end -}}

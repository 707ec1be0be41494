{{- define "kveil.name" -}}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{- end }}

{{- define "kveil.labels" -}}
{{ include "kveil.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "kveil.selector" -}}
app.kubernetes.io/name: kveil
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "kveil.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end -}}
{{- end }}

{{- define "kveil.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ .Values.serviceAccount.name | default (include "kveil.name" .) }}{{ else }}{{ .Values.serviceAccount.name | default "default" }}{{ end -}}
{{- end }}

{{/* Most replicas: what was given, or as many as have a partition for each of their workers (list root given). */}}
{{- define "kveil.mostReplicas" -}}
{{- $ := index . 0 -}}
{{- $most := int (index . 1) -}}
{{- with int $.Values.inputPartitions -}}
{{- $most = min $most (max 1 (div . (int ($.Values.config.workers | default 1)))) -}}
{{- end -}}
{{- $most -}}
{{- end }}

{{- define "kveil.isSidecar" -}}
{{- if has .Values.workload.kind (list "NativeSidecar" "Sidecar") }}true{{ end -}}
{{- end }}

{{/* The container, the same in every kind of workload. */}}
{{- define "kveil.container" -}}
{{- if lt (int .Values.terminationGracePeriodSeconds) (add 20 (int .Values.preStopSleepSeconds) | int) }}
{{- fail "terminationGracePeriodSeconds: a drain takes up to 15 s after preStopSleepSeconds; give 20 s more than that" }}
{{- end }}
{{- if and .Values.preStopSleepSeconds (semverCompare "<1.30-0" .Capabilities.KubeVersion.Version) }}
{{- fail "preStopSleepSeconds: Kubernetes before 1.30 cannot sleep" }}
{{- end }}
{{- if and .Values.config.instance (not (contains "${env:" (toString .Values.config.instance))) }}
{{- fail "config.instance would be one name for all replicas; leave it out, and each has its pod's name" }}
{{- end }}
{{- if and (eq .Values.workload.kind "NativeSidecar") (semverCompare "<1.29-0" .Capabilities.KubeVersion.Version) }}
{{- fail "workload.kind: Kubernetes before 1.29 has no native sidecars; use Sidecar" }}
{{- end -}}
name: kveil
image: {{ include "kveil.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args: [run, -c, /etc/kveil/kveil.yaml]
env:
  - {name: KVEIL_LIMITS_MEMORY, value: "{{ div (mul (int .Values.memory) 3) 4 }}MiB"}
  {{- if .Values.allowUnlockedKeys }}
  - {name: KVEIL_ALLOW_UNLOCKED_KEYS, value: "1"}
  {{- end }}
  {{- with .Values.extraEnv }}{{ toYaml . | nindent 2 }}{{ end }}
ports:
  - {name: side, containerPort: 9819}
startupProbe: {httpGet: {path: /livez, port: side}, periodSeconds: 2, failureThreshold: 30}
livenessProbe: {httpGet: {path: /livez, port: side}, periodSeconds: 10, failureThreshold: 3, timeoutSeconds: 2}
readinessProbe: {httpGet: {path: /readyz, port: side}, periodSeconds: 5, timeoutSeconds: 2}
{{- if .Values.preStopSleepSeconds }}
lifecycle: {preStop: {sleep: {seconds: {{ .Values.preStopSleepSeconds }}}}}
{{- end }}
resources:
  requests: {cpu: {{ .Values.cpu.request }}, memory: {{ int64 .Values.memory }}Mi}
  limits: {memory: {{ int64 .Values.memory }}Mi{{ with .Values.cpu.limit }}, cpu: {{ . }}{{ end }}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  capabilities: {drop: [ALL]}
  seccompProfile: {type: RuntimeDefault}
volumeMounts:
  {{- include "kveil.mounts" . | nindent 2 }}
{{- end }}

{{- define "kveil.mounts" -}}
- {name: kveil-config, mountPath: /etc/kveil/kveil.yaml, subPath: kveil.yaml, readOnly: true}
- {name: kveil-rules, mountPath: /etc/kveil/rules, readOnly: true}
{{- if .Values.secrets }}
- {name: kveil-secrets, mountPath: /etc/kveil/secrets, readOnly: true}
{{- end }}
{{- with .Values.extraVolumeMounts }}{{ toYaml . | nindent 0 }}{{ end }}
{{- end }}

{{- define "kveil.volumes" -}}
- name: kveil-config
  configMap: {name: {{ include "kveil.name" . }}-config}
- name: kveil-rules
  configMap: {name: {{ include "kveil.name" . }}-rules}
{{- if .Values.secrets }}
- name: kveil-secrets
  projected:
    defaultMode: 0440
    sources:
      {{- range .Values.secrets }}
      - secret: {name: {{ . }}}
      {{- end }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* What two kinds of workload share below spec.template. */}}
{{- define "kveil.pod" -}}
metadata:
  labels:
    {{- include "kveil.labels" . | nindent 4 }}
    {{- with .Values.podLabels }}{{ toYaml . | nindent 4 }}{{ end }}
  annotations:
    # kveil.yaml is read at start; rules are not here: kveil takes new ones by itself.
    checksum/config: {{ toYaml .Values.config | sha256sum }}
    {{- with .Values.podAnnotations }}{{ toYaml . | nindent 4 }}{{ end }}
spec:
  serviceAccountName: {{ include "kveil.serviceAccount" . }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with .Values.image.pullSecrets }}
  imagePullSecrets: {{ toYaml . | nindent 4 }}
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
    seccompProfile: {type: RuntimeDefault}
  terminationGracePeriodSeconds: {{ int64 .Values.terminationGracePeriodSeconds }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector: {matchLabels: { {{- include "kveil.selector" . | replace "\n" ", " -}} }}
    - maxSkew: 1
      topologyKey: topology.kubernetes.io/zone
      whenUnsatisfiable: ScheduleAnyway
      labelSelector: {matchLabels: { {{- include "kveil.selector" . | replace "\n" ", " -}} }}
  {{- with .Values.nodeSelector }}
  nodeSelector: {{ toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations: {{ toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity: {{ toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - {{ include "kveil.container" . | nindent 6 | trim }}
  volumes:
    {{- include "kveil.volumes" . | nindent 4 }}
{{- end }}

{{- define "kveil.meta" -}}
{{- $ := index . 0 -}}
name: {{ include "kveil.name" $ }}{{ with index . 1 }}-{{ . }}{{ end }}
namespace: {{ $.Release.Namespace }}
labels:
  {{- include "kveil.labels" $ | nindent 2 }}
{{- end }}

{{- /* Names, labels and images. */ -}}

{{- define "plumbline.name" -}}
{{- if contains "plumbline" .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}{{ printf "%s-plumbline" (.Release.Name | trunc 30 | trimSuffix "-") }}{{ end }}
{{- end }}

{{- /* The job of Prometheus: alarms separate installations by it, and find those that begin with "plumbline". */ -}}
{{- define "plumbline.job" -}}
plumbline-{{ .Release.Namespace }}-{{ .Release.Name }}
{{- end }}

{{- /* (dict "root" $ "component" NAME) */ -}}
{{- define "plumbline.selector" -}}
app.kubernetes.io/name: plumbline
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "plumbline.labels" -}}
{{ include "plumbline.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{- /* An image as (dict "repository" … "tag" … "digest" …). */ -}}
{{- define "plumbline.image" -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag }}{{ end }}
{{- end }}

{{- /* The image of a pod of `rag`: (dict "root" $ "image" its own) */ -}}
{{- define "plumbline.ragImage" -}}
{{- $image := .root.Values.image }}
{{- $own := .image | default dict }}
{{- $tag := $own.tag | default $image.tag | default .root.Chart.AppVersion }}
{{- $digest := ternary $image.digest $own.digest (empty $own) }}
{{- include "plumbline.image" (dict "repository" ($own.repository | default $image.repository) "tag" $tag "digest" $digest) }}
{{- end }}

{{- /* Pools of workers with the defaults of all, as YAML. */ -}}
{{- define "plumbline.pools" -}}
{{- $pools := dict }}
{{- range $name, $pool := .Values.workers }}
{{- $_ := set $pools $name (mustMergeOverwrite (deepCopy $.Values.workerDefaults) (deepCopy ($pool | default dict))) }}
{{- end }}
{{- toYaml $pools }}
{{- end }}

{{- /* The settings of Plumbline: those that follow from the chart, and over them `settings`. As YAML. */ -}}
{{- define "plumbline.settings" -}}
{{- $name := include "plumbline.name" . }}
{{- $in := printf "%s.svc" .Release.Namespace }}
{{- $api := printf "%s-api" $name }}
{{- $hosts := list $api (printf "%s.%s" $api .Release.Namespace) (printf "%s.%s" $api $in) (printf "%s.%s.cluster.local" $api $in) }}
{{- if .Values.ingress.enabled }}{{ $hosts = append $hosts .Values.ingress.host }}{{ end }}
{{- $made := dict
  "server" (dict "host" "0.0.0.0" "port" 8000 "allowed_hosts" $hosts)
  "gateway" (dict "enabled" true)
  "log" (dict "format" "json")
  "catalog" (dict "kind" "postgres")
  "queue" (dict "kind" "celery" "metrics_host" "0.0.0.0" "metrics_port" 9100)
}}
{{- if .Values.redis.enabled }}
{{- $_ := set $made.queue "broker_url" (printf "redis://%s-redis.%s:6379/0" $name $in) }}
{{- end }}
{{- $nodes := .Values.qdrant.urls }}
{{- if .Values.qdrant.enabled }}
{{- $nodes = list }}
{{- range $n := until (int .Values.qdrant.replicas) }}
{{- $nodes = append $nodes (printf "http://%s-qdrant-%d.%s-qdrant.%s:6333" $name $n $name $in) }}
{{- end }}
{{- end }}
{{- $_ := set $made "index" (dict "kind" "qdrant" "url" $nodes) }}
{{- with .Values.engine }}
{{- if .enabled }}
{{- $urls := list }}
{{- range .names }}{{ $urls = append $urls (printf "http://%s-engine-%s.%s:8000/v1" $name . $in) }}{{ end }}
{{- $generator := dict "kind" "openai" "model" .servedModelName "context_tokens" .maxModelLen }}
{{- if eq (len $urls) 1 }}{{ $_ := set $generator "base_url" (first $urls) }}
{{- else }}{{ $_ := set $generator "replicas" $urls }}{{ end }}
{{- $_ := set $made "generator" $generator }}
{{- end }}
{{- end }}
{{- $settings := mustMergeOverwrite $made (deepCopy .Values.settings) }}
{{- if regexMatch "\"(api_key|secret_key|secret|redis_url|broker_url)\":|://[^/\"]*@" (.Values.settings | toJson) }}
{{- fail "settings: secrets belong into the Secret that secrets.name names, with their names in secrets.settings" }}
{{- end }}
{{- if and (not .Values.redis.enabled) (not (has "queue.broker_url" .Values.secrets.settings)) }}
{{- fail "redis.enabled is false: name queue.broker_url in secrets.settings, and put it into the Secret" }}
{{- end }}
{{- toYaml $settings }}
{{- end }}

{{- /*
The seconds within which every question ends that was accepted before, as drain_seconds in rag/build/waiting.py says: the
longest of wait and deadline together.
*/ -}}
{{- define "plumbline.drainSeconds" -}}
{{- $settings := include "plumbline.settings" . | fromYaml }}
{{- $deadline := dig "limits" "query_seconds" 30.0 $settings }}
{{- $longest := 0.0 }}
{{- range $class, $wait := dict "interactive" 2.0 "standard" 5.0 "batch" 60.0 }}
{{- $of := dig "admission" $class dict $settings }}
{{- $longest = maxf $longest (addf ($of.wait_seconds | default $wait) ($of.query_seconds | default $deadline)) }}
{{- end }}
{{- ceil $longest | int }}
{{- end }}

{{- /* The environment of a process of `rag`. */ -}}
{{- define "plumbline.env" -}}
- { name: RAG_CONFIG, value: "" } # not the image's
- { name: RAG_DATA_DIR, value: /data }
- { name: HOME, value: /tmp }
{{ include "plumbline.secretEnv" . }}
{{- end }}

{{- define "plumbline.secretEnv" -}}
{{- range .Values.secrets.settings }}
{{- $variable := printf "RAG_%s" (. | replace "." "__" | upper) }}
{{- if contains "." . }}
- { name: {{ $variable }}__FILE, value: /run/secrets/plumbline/{{ . }} }
{{- else }}
- name: {{ $variable }}
  valueFrom: { secretKeyRef: { name: {{ $.Values.secrets.name }}, key: {{ . }} } }
{{- end }}
{{- end }}
{{- end }}

{{- define "plumbline.secretVolume" -}}
name: secrets
secret:
  secretName: {{ .Values.secrets.name }}
  defaultMode: 0440
  items:
    {{- range .Values.secrets.settings }}
    {{- if contains "." . }}
    - { key: {{ . }}, path: {{ . }} }
    {{- end }}
    {{- end }}
{{- end }}

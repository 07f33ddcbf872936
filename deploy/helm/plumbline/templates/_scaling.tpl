{{- /*
Scaling of a Deployment, none if autoscaling.kind is: (dict "root" $ "component" NAME "name" NAME "min" N "max" N
"cpuPercent" N, if its CPU tells, "queries" [(dict "query" PromQL "threshold" N "each" true if it is a sum over pods)])
*/ -}}
{{- define "plumbline.scaling" -}}
{{- $scaling := .root.Values.autoscaling }}
{{- if gt (int .min) (int .max) }}
{{- fail (printf "%s: min is %v, and max is %v" .component .min .max) }}
{{- end }}
{{- if eq $scaling.kind "keda" }}
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: {{ .name }}
  labels:
    {{- include "plumbline.labels" . | nindent 4 }}
spec:
  scaleTargetRef: { name: {{ .name }} }
  pollingInterval: 15
  cooldownPeriod: {{ $scaling.cooldownSeconds }}
  minReplicaCount: {{ .min }}
  maxReplicaCount: {{ .max }}
  advanced:
    horizontalPodAutoscalerConfig:
      behavior:
        {{- include "plumbline.behavior" $scaling | nindent 8 }}
  triggers:
    {{- range .queries }}
    - type: prometheus
      metricType: {{ ternary "AverageValue" "Value" .each }}
      metadata:
        serverAddress: {{ $scaling.prometheus }}
        query: {{ .query | quote }}
        threshold: {{ .threshold | toString | quote }}
    {{- end }}
{{- else if and (eq $scaling.kind "hpa") .cpuPercent }}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ .name }}
  labels:
    {{- include "plumbline.labels" . | nindent 4 }}
spec:
  scaleTargetRef: { apiVersion: apps/v1, kind: Deployment, name: {{ .name }} }
  minReplicas: {{ max 1 (int .min) }}
  maxReplicas: {{ .max }}
  behavior:
    {{- include "plumbline.behavior" $scaling | nindent 4 }}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target: { type: Utilization, averageUtilization: {{ .cpuPercent }} }
{{- end }}
{{- end }}

{{- define "plumbline.behavior" -}}
scaleUp:
  stabilizationWindowSeconds: 0
  policies:
    - { type: Percent, value: 100, periodSeconds: 30 }
    - { type: Pods, value: 2, periodSeconds: 30 }
scaleDown:
  stabilizationWindowSeconds: {{ .cooldownSeconds }}
  policies:
    - { type: Pods, value: 1, periodSeconds: 60 }
{{- end }}

{{- /* The number of pods of a Deployment, if nothing else decides: (dict "root" $ "replicas" N "cpuPercent" N) */ -}}
{{- define "plumbline.replicas" -}}
{{- $kind := .root.Values.autoscaling.kind }}
{{- if or (eq $kind "none") (and (eq $kind "hpa") (not .cpuPercent)) }}
replicas: {{ .replicas }}
{{- end }}
{{- end }}

{{- /* What all pods have in common. */ -}}

{{- /* The beginning of a pod's spec: (dict "user" N "pullSecrets" [names]) */ -}}
{{- define "plumbline.podSecurity" -}}
automountServiceAccountToken: false
# Kubernetes would name each Service in the environment, RAG_…_SERVICE_HOST among them, which is no setting.
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .user }}
  runAsGroup: {{ .user }}
  fsGroup: {{ .user }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: { type: RuntimeDefault }
{{- with .pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - { name: {{ . }} }
  {{- end }}
{{- end }}
{{- end }}

{{- define "plumbline.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
{{- end }}

{{- /* Where pods go: (dict "root" $ "component" NAME "of" values with nodeSelector and tolerations) */ -}}
{{- define "plumbline.placement" -}}
{{- with .of.nodeSelector }}
nodeSelector: {{ toJson . }}
{{- end }}
{{- with .of.tolerations }}
tolerations: {{ toJson . }}
{{- end }}
topologySpreadConstraints:
  {{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "plumbline.selector" $ | nindent 8 }}
  {{- end }}
{{- end }}

{{- /*
A pod of `rag`: (dict "root" $ "component" NAME "args" [...] "of" values with image, resources and placement
"probes" YAML, "ports" YAML, "lifecycle" YAML, "grace" seconds "restart" policy)
*/ -}}
{{- define "plumbline.ragPod" -}}
metadata:
  labels:
    {{- include "plumbline.labels" . | nindent 4 }}
  annotations:
    checksum/settings: {{ include "plumbline.settings" .root | sha256sum }}
spec:
  {{- include "plumbline.podSecurity" (dict "user" 1000 "pullSecrets" .root.Values.image.pullSecrets) | nindent 2 }}
  {{- include "plumbline.placement" . | nindent 2 }}
  {{- with .restart }}
  restartPolicy: {{ . }}
  {{- end }}
  {{- with .grace }}
  terminationGracePeriodSeconds: {{ . }}
  {{- end }}
  containers:
    - name: rag
      image: {{ include "plumbline.ragImage" (dict "root" .root "image" .of.image) }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      args: {{ toJson .args }}
      {{- include "plumbline.containerSecurity" . | nindent 6 }}
      envFrom:
        - configMapRef: { name: {{ include "plumbline.name" .root }}-settings }
      env:
        {{- include "plumbline.env" .root | nindent 8 }}
      {{- with .ports }}
      ports: {{ toJson . }}
      {{- end }}
      resources: {{ toJson .of.resources }}
      {{- with .probes }}
      {{- . | nindent 6 }}
      {{- end }}
      volumeMounts:
        - { name: data, mountPath: /data }
        - { name: tmp, mountPath: /tmp }
        - { name: secrets, mountPath: /run/secrets/plumbline, readOnly: true }
  volumes:
    - name: data
      persistentVolumeClaim: { claimName: {{ .root.Values.data.existingClaim | default (printf "%s-data" (include "plumbline.name" .root)) }} }
    - name: tmp
      emptyDir: {}
    - {{- include "plumbline.secretVolume" .root | nindent 6 }}
{{- end }}

{{- /* No pod is taken away before a new one is ready. */ -}}
{{- define "plumbline.rolling" -}}
strategy:
  type: RollingUpdate
  rollingUpdate: { maxUnavailable: 0, maxSurge: 1 }
minReadySeconds: 5
revisionHistoryLimit: 3
{{- end }}

{{- /* (dict "root" $ "component" NAME "name" NAME) */ -}}
{{- define "plumbline.disruption" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ .name }}
  labels:
    {{- include "plumbline.labels" . | nindent 4 }}
spec:
  maxUnavailable: 1
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "plumbline.selector" . | nindent 6 }}
{{- end }}

{{- /*
A database of the chart: (dict "root" $ "component" NAME "of" its values "replicas" N "user" N "mount" PATH
"ports" (dict name port) "container" YAML of the rest "scratch" (dict volume path))
*/ -}}
{{- define "plumbline.stateful" -}}
{{- $name := printf "%s-%s" (include "plumbline.name" .root) .component -}}
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: {{ $name }}
  labels:
    {{- include "plumbline.labels" . | nindent 4 }}
spec:
  serviceName: {{ $name }}
  replicas: {{ .replicas }}
  podManagementPolicy: Parallel
  selector:
    matchLabels:
      {{- include "plumbline.selector" . | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "plumbline.labels" . | nindent 8 }}
    spec:
      {{- include "plumbline.podSecurity" (dict "user" .user) | nindent 6 }}
      {{- include "plumbline.placement" . | nindent 6 }}
      terminationGracePeriodSeconds: 60
      containers:
        - name: {{ .component }}
          image: {{ include "plumbline.image" .of.image }}
          {{- include "plumbline.containerSecurity" . | nindent 10 }}
          ports:
            {{- range $port, $number := .ports }}
            - { name: {{ $port }}, containerPort: {{ $number }} }
            {{- end }}
          resources: {{ toJson .of.resources }}
          {{- .container | nindent 10 }}
          volumeMounts:
            - { name: storage, mountPath: {{ .mount }} }
            {{- range $volume, $path := .scratch }}
            - { name: {{ $volume }}, mountPath: {{ $path }} }
            {{- end }}
            {{- with .secret }}
            - { name: secrets, mountPath: /run/secrets/plumbline, readOnly: true }
            {{- end }}
      volumes:
        {{- range $volume, $path := .scratch }}
        - name: {{ $volume }}
          emptyDir: {}
        {{- end }}
        {{- with .secret }}
        - name: secrets
          secret: { secretName: {{ $.root.Values.secrets.name }}, defaultMode: 0440, items: [{ key: {{ . }}, path: {{ . }} }] }
        {{- end }}
  volumeClaimTemplates:
    - metadata: { name: storage }
      spec:
        accessModes: [ReadWriteOnce]
        {{- with .of.storageClass }}
        storageClassName: {{ . }}
        {{- end }}
        resources: { requests: { storage: {{ .of.size }} } }
---
# Without an address of its own: each pod has a name, {{ $name }}-0 …, and all of them this one.
apiVersion: v1
kind: Service
metadata:
  name: {{ $name }}
  labels:
    {{- include "plumbline.labels" . | nindent 4 }}
spec:
  clusterIP: None
  publishNotReadyAddresses: {{ gt (int .replicas) 1 }} # members of a cluster find each other before they are ready
  selector:
    {{- include "plumbline.selector" . | nindent 4 }}
  ports:
    {{- range $port, $number := .ports }}
    - { name: {{ $port }}, port: {{ $number }}, targetPort: {{ $port }} }
    {{- end }}
---
{{ include "plumbline.disruption" (merge (dict "name" $name) .) }}
{{- end }}

{{- /* Probes by a command: a list of its words. */ -}}
{{- define "plumbline.execProbes" -}}
startupProbe:
  exec: { command: {{ toJson . }} }
  periodSeconds: 2
  timeoutSeconds: 5
  failureThreshold: 150
readinessProbe:
  exec: { command: {{ toJson . }} }
  periodSeconds: 5
  timeoutSeconds: 5
livenessProbe:
  exec: { command: {{ toJson . }} }
  periodSeconds: 20
  timeoutSeconds: 10
  failureThreshold: 6
{{- end }}

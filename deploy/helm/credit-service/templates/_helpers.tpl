{{- define "credit-service.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "credit-service.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "credit-service.labels" -}}
{{ include "credit-service.selector" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "credit-service.image" -}}
{{- if .Values.image.digest }}{{ .Values.image.repository }}@{{ .Values.image.digest }}{{ else }}{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "credit-service.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary (include "credit-service.name" .) "default" .Values.serviceAccount.create) }}
{{- end }}

{{/* What every process is told: the settings, and where its secrets lie. */}}
{{- define "credit-service.env" -}}
- name: CREDITS_SECRETS_DIR
  value: /etc/credits/secrets
{{- range $name, $value := .Values.settings }}
- name: CREDITS_{{ upper $name }}
  value: {{ ternary (int64 $value | toString) (toString $value) (kindIs "float64" $value) | quote }}
{{- end }}
{{- if .Values.kafka.tlsSecret }}
- name: CREDITS_KAFKA_SSL_CAFILE
  value: /etc/credits/kafka/ca.crt
{{- if .Values.kafka.clientCertificate }}
- name: CREDITS_KAFKA_SSL_CERTFILE
  value: /etc/credits/kafka/tls.crt
- name: CREDITS_KAFKA_SSL_KEYFILE
  value: /etc/credits/kafka/tls.key
{{- end }}
{{- end }}
{{- end }}

{{- define "credit-service.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "credit-service.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* Of a job that asks Kafka nothing: where Kafka is has to be told all the same, how to log in there has not. */}}
{{- define "credit-service.envWithoutKafka" -}}
- name: CREDITS_SECRETS_DIR
  value: /etc/credits/secrets
- name: CREDITS_KAFKA_BOOTSTRAP_SERVERS
  value: {{ .Values.settings.kafka_bootstrap_servers | quote }}
{{- range $name, $value := .Values.settings }}
{{- if contains "database_password" $name }}
- name: CREDITS_{{ upper $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* The temporary folder is all that can be written: dry runs and reports of commands go there. */}}
{{- define "credit-service.mounts" -}}
- name: secrets
  mountPath: /etc/credits/secrets
  readOnly: true
- name: tmp
  mountPath: /tmp
{{- if and .root.Values.kafka.tlsSecret (not .only) }}
- name: kafka-tls
  mountPath: /etc/credits/kafka
  readOnly: true
{{- end }}
{{- with .root.Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Not at /run/secrets: clusters and their injectors mount tokens below it, which a mount of ours would hide. */}}
{{- define "credit-service.volumes" -}}
- name: secrets
  {{- if .only }}
  projected:
    defaultMode: 0440
    sources:
      {{- range $key, $isNeeded := .only }}
      - secret:
          name: {{ $.secret }}
          items:
            - key: {{ $key }}
              path: {{ $key }}
          optional: {{ not $isNeeded }}
      {{- end }}
  {{- else }}
  secret:
    secretName: {{ .secret }}
    defaultMode: 0440
  {{- end }}
- name: tmp
  emptyDir:
    sizeLimit: {{ .root.Values.temporaryFolder.sizeLimit }}
{{- if and .root.Values.kafka.tlsSecret (not .only) }}
- name: kafka-tls
  secret:
    secretName: {{ .root.Values.kafka.tlsSecret }}
    defaultMode: 0440
{{- end }}
{{- with .root.Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/*
A job that has to be done before the rollout. It cannot use what the rollout brings, hence no account of its own.
With `only`, it is told nothing of Kafka's login, and mounts those keys of its Secret alone; true: it needs the key.
*/}}
{{- define "credit-service.job" -}}
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ include "credit-service.name" .root }}-{{ .name }}
  labels:
    {{- include "credit-service.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .name }}
  annotations:
    helm.sh/hook: pre-install,pre-upgrade
    helm.sh/hook-weight: {{ .weight | quote }}
    helm.sh/hook-delete-policy: before-hook-creation
spec:
  backoffLimit: 3
  activeDeadlineSeconds: {{ .deadlineSeconds }}
  template:
    metadata:
      labels:
        {{- include "credit-service.selector" .root | nindent 8 }}
        app.kubernetes.io/component: {{ .name }}
    spec:
      restartPolicy: Never
      automountServiceAccountToken: false
      {{- if not .root.Values.serviceAccount.create }}
      serviceAccountName: {{ include "credit-service.serviceAccount" .root }}
      {{- end }}
      {{- with .root.Values.imagePullSecrets }}
      imagePullSecrets: {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext: {{- include "credit-service.podSecurity" .root | nindent 8 }}
      {{- with .root.Values.nodeSelector }}
      nodeSelector: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .root.Values.tolerations }}
      tolerations: {{- toYaml . | nindent 8 }}
      {{- end }}
      containers:
        - name: {{ .name }}
          image: {{ include "credit-service.image" .root }}
          imagePullPolicy: {{ .root.Values.image.pullPolicy }}
          args: {{ toJson .args }}
          env: {{- include (ternary "credit-service.envWithoutKafka" "credit-service.env" (hasKey . "only")) .root | nindent 12 }}
          securityContext: {{- include "credit-service.containerSecurity" .root | nindent 12 }}
          resources:
            requests:
              cpu: 100m
              memory: 128Mi
            limits:
              memory: 256Mi
          volumeMounts: {{- include "credit-service.mounts" (dict "root" .root "only" .only) | nindent 12 }}
      volumes: {{- include "credit-service.volumes" (dict "root" .root "secret" (.secret | default .root.Values.existingSecret) "only" .only) | nindent 8 }}
{{- end }}

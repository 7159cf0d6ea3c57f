{{/* The larger parts of Ratify's pod. */}}

{{- define "ratify.containerSecurity" -}}
{{- $defaults := dict
  "allowPrivilegeEscalation" false
  "capabilities" (dict "drop" (list "ALL"))
  "readOnlyRootFilesystem" true
  "runAsGroup" 65532
  "runAsNonRoot" true
  "runAsUser" 65532
  "seccompProfile" (dict "type" "RuntimeDefault") -}}
{{- mergeOverwrite $defaults (deepCopy (default dict .Values.securityContext)) | toYaml -}}
{{- end -}}

{{/* The environment: what is given, then v1's variables, then where may be written. */}}
{{- define "ratify.env" -}}
{{- $aws := .Values.oras.authProviders.awsApiOverride -}}
{{- $given := list -}}
{{- range .Values.env }}{{ $given = append $given .name }}{{ end -}}
{{- with .Values.env -}}
{{- toYaml . }}
{{ end -}}
{{- with .Values.logger.level -}}
- name: RATIFY_LOG_LEVEL
  value: {{ . | quote }}
{{ end -}}
{{- if or .Values.dockerConfig .Values.registryCredsSecret -}}
- name: DOCKER_CONFIG
  value: /usr/local/docker
{{ end -}}
{{- if .Values.oras.authProviders.azureManagedIdentityEnabled -}}
- name: AZURE_TENANT_ID
  value: {{ .Values.azureManagedIdentity.tenantId | quote }}
{{ end -}}
{{- if and .Values.oras.authProviders.awsEcrBasicEnabled $aws.enabled $aws.endpoint $aws.partition $aws.region -}}
{{- range list "endpoint" "partition" "region" -}}
- name: AWS_API_OVERRIDE_{{ upper . }}
  value: {{ get $aws . | quote }}
{{ end -}}
{{- end -}}
- name: RATIFY_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: RATIFY_NAME
  value: {{ include "ratify.fullname" . }}
{{- range $name, $value := .Values.featureFlags }}
- name: {{ $name }}
  value: {{ include "ratify.isOn" $value | empty | ternary "0" "1" | quote }}
{{- end }}
{{- range $name, $value := dict "RATIFY_CONFIG" "/.ratify" "HOME" "/home/nonroot" "TMPDIR" "/tmp" }}
{{- if not (has $name $given) }}
- name: {{ $name }}
  value: {{ $value }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Where the client CA is. Nothing is looked up, and what is not there yet holds up no pod. */}}
{{- define "ratify.clientCA" -}}
{{- $client := default dict .Values.provider.clientCA -}}
{{- $isGiven := hasKey .Values.provider "clientCA" -}}
{{- $items := list (dict "key" ($client.key | default "ca.crt") "path" "ca.crt") -}}
{{- if $client.volume -}}
{{- toYaml $client.volume -}}
{{- else if $client.configMapName -}}
{{- dict "configMap" (dict "name" $client.configMapName "optional" true "items" $items) | toYaml -}}
{{- else if or $client.secretName (not $isGiven) -}}
{{- dict "secret" (dict "secretName" ($client.secretName | default "gatekeeper-webhook-server-cert") "optional" true "items" $items) | toYaml -}}
{{- end -}}
{{- end -}}

{{- define "ratify.dataVolume" -}}
{{- $volume := default dict .Values.volume -}}
{{- if $volume.source -}}
{{- toYaml $volume.source -}}
{{- else -}}
emptyDir:
  sizeLimit: {{ $volume.sizeLimit | default "2Gi" }}
  {{- with $volume.medium }}
  medium: {{ . }}
  {{- end }}
{{- end -}}
{{- end -}}

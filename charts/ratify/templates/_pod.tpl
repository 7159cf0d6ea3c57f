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
{{- $tracing := default dict .Values.tracing -}}
{{- range $name, $value := dict "OTEL_EXPORTER_OTLP_ENDPOINT" $tracing.endpoint "OTEL_TRACES_SAMPLER" $tracing.sampler "OTEL_TRACES_SAMPLER_ARG" $tracing.samplerArg -}}
{{- if and $value (not (has $name $given)) -}}
- name: {{ $name }}
  value: {{ $value | quote }}
{{ end -}}
{{- end -}}
{{- with $tracing.headersSecretName -}}
- name: OTEL_EXPORTER_OTLP_HEADERS
  valueFrom:
    secretKeyRef:
      name: {{ . | quote }}
      key: {{ $tracing.headersSecretKey | default "headers" | quote }}
{{ end -}}
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

{{/* The source of a volume: the Secret or the ConfigMap that is named, one of the two. */}}
{{- define "ratify.secretOrConfigMap" -}}
{{- $given := .given -}}
{{- if and $given.secretName $given.configMapName -}}
{{- fail (printf "%s: secretName and configMapName exclude each other" .of) -}}
{{- else if $given.secretName -}}
{{- dict "secret" (merge (dict "secretName" $given.secretName) .items) | toJson -}}
{{- else if $given.configMapName -}}
{{- dict "configMap" (merge (dict "name" $given.configMapName) .items) | toJson -}}
{{- else -}}
{{- fail (printf "%s: secretName or configMapName must say where it is" .of) -}}
{{- end -}}
{{- end -}}

{{/*
What tells where registries are and who gives out their passwords, as JSON: a volume each, and where
it is mounted. None is optional: without it Ratify would ask other hosts than it is meant to.
*/}}
{{- define "ratify.registryFiles" -}}
{{- $all := list -}}
{{- $hosts := default dict (.Values.registries).hosts -}}
{{- if and $hosts.files $hosts.volume -}}
{{- fail "registries.hosts: files and volume exclude each other" -}}
{{- end -}}
{{- $seen := list -}}
{{- range $index, $file := $hosts.files -}}
{{- $of := printf "registries.hosts.files: %s" $file.registry -}}
{{- /* A mount's path has no colon; the port may be written so. */ -}}
{{- $directory := regexReplaceAll ":([0-9]+)$" (lower $file.registry | trimSuffix ":443") "_${1}_" -}}
{{- if has $directory $seen }}{{ fail (printf "%s is given twice" $of) }}{{ end -}}
{{- $seen = append $seen $directory -}}
{{- $source := include "ratify.secretOrConfigMap" (dict "of" $of "given" $file "items" dict) | fromJson -}}
{{- $all = append $all (dict "name" (printf "registry-hosts-%d" $index) "mountPath" (printf "/etc/ratify/hosts/%s" $directory) "source" $source) -}}
{{- end -}}
{{- with $hosts.volume -}}
{{- $all = append $all (dict "name" "registry-hosts" "mountPath" "/etc/ratify/hosts" "source" .) -}}
{{- end -}}
{{- $providers := default dict (.Values.registries).credentialProviders -}}
{{- $programs := default dict $providers.programs -}}
{{- if or $providers.secretName $providers.configMapName $programs.volume -}}
{{- if not $programs.volume -}}
{{- fail "registries.credentialProviders: programs.volume must say where the programs are" -}}
{{- end -}}
{{- $items := dict "items" (list (dict "key" ($providers.key | default "config.yaml") "path" "config.yaml")) -}}
{{- $source := include "ratify.secretOrConfigMap" (dict "of" "registries.credentialProviders" "given" $providers "items" $items) | fromJson -}}
{{- $all = append $all (dict "name" "credential-providers" "mountPath" "/etc/ratify/credential-providers" "source" $source) -}}
{{- $all = append $all (dict "name" "credential-programs" "mountPath" "/usr/local/lib/ratify/credential-providers" "subPath" $programs.subPath "source" $programs.volume) -}}
{{- end -}}
{{- toJson $all -}}
{{- end -}}

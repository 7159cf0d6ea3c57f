{{/*
Names, labels and small decisions. New values are read through parentheses or `default dict`: after
`helm upgrade --reuse-values` from v1's chart they are not there.
*/}}

{{- define "ratify.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "ratify.fullname" -}}
{{- $name := include "ratify.name" . -}}
{{- $composed := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{- .Values.fullnameOverride | default $composed | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "ratify.selectorLabels" -}}
app.kubernetes.io/name: {{ include "ratify.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "ratify.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "ratify.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{/* The labels of v1's bindings and hook objects. */}}
{{- define "ratify.releaseLabels" -}}
heritage: {{ .Release.Service | quote }}
release: {{ .Release.Name | quote }}
{{- end -}}

{{- define "ratify.serviceAccountName" -}}
{{- if or .Values.azureWorkloadIdentity.clientId .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "ratify.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{/*
The annotations of what v1 makes by hooks. Helm does not own what a hook made, so that a plain object
of the same name could not be installed over it: the hooks stay unless they are switched off. Either
way the object outlives its release, and on the way from one to the other nothing is removed.
*/}}
{{- define "ratify.hookAnnotations" -}}
annotations:
  helm.sh/resource-policy: keep
{{- if ne (toString (.Values.hooks).enabled) "false" }}
  helm.sh/hook: pre-install,pre-upgrade
  helm.sh/hook-weight: "5"
{{- end }}
{{- end -}}

{{- define "ratify.crdHookAnnotations" -}}
helm.sh/hook: pre-install,pre-upgrade
helm.sh/hook-weight: "1"
helm.sh/hook-delete-policy: hook-succeeded,before-hook-creation
{{- end -}}

{{/* Whether a feature flag is on: a boolean, or what `--set-string` makes of one. */}}
{{- define "ratify.isOn" -}}
{{- if has (toString .) (list "true" "1") -}}true{{- end -}}
{{- end -}}

{{- define "ratify.isRotated" -}}
{{- include "ratify.isOn" (.Values.featureFlags).RATIFY_CERT_ROTATION -}}
{{- end -}}

{{/*
An image by its digest, or else by its tag. v1's images are refused: under this chart they would
start and behave differently from what it says.
*/}}
{{- define "ratify.image" -}}
{{- $root := .root -}}
{{- $image := $root.Values.image -}}
{{- $repository := get $image .repository -}}
{{- $digest := get $image .digest -}}
{{- $advice := "name images of this chart's version with image.repository, image.crdRepository and image.tag, or upgrade with --reset-then-reuse-values in place of --reuse-values" -}}
{{- range list "ghcr.io/ratify-project/" "ghcr.io/deislabs/" -}}
{{- if hasPrefix . $repository -}}
{{- fail (printf "image.%s is %s, an image of Ratify v1, probably reused from its chart: %s" $.repository $repository $advice) -}}
{{- end -}}
{{- end -}}
{{- if $digest -}}
{{- printf "%s@%s" $repository $digest -}}
{{- else -}}
{{- $tag := $image.tag | default $root.Chart.AppVersion | toString -}}
{{- if eq $tag "v1.4.0" -}}
{{- fail (printf "image.tag is v1.4.0, the version of Ratify v1's chart 1.15.0, probably reused from it: %s" $advice) -}}
{{- end -}}
{{- printf "%s:%s" $repository $tag -}}
{{- end -}}
{{- end -}}

{{- define "ratify.pullSecrets" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ kindIs "map" . | ternary (get (kindIs "map" . | ternary . dict) "name") . | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{/* A list of tolerations; one toleration may be given as an object. */}}
{{- define "ratify.tolerations" -}}
{{- if and . (kindIs "map" .) -}}
{{- list . | toYaml -}}
{{- else if . -}}
{{- toYaml . -}}
{{- else -}}
[]
{{- end -}}
{{- end -}}

{{/* What the configuration file says, as JSON with its keys in order. */}}
{{- define "ratify.config" -}}
{{- $headers := list -}}
{{- $given := (.Values.logger.requestHeaders).traceIDHeaderName -}}
{{- range kindIs "slice" $given | ternary $given (list $given) -}}
{{- with . }}{{ $headers = append $headers (toString .) }}{{ end -}}
{{- end -}}
{{- $timeout := .Values.provider.timeout -}}
{{- $executor := dict
  "verificationRequestTimeout" (sub (mul 1000 (int $timeout.validationTimeoutSeconds)) 100)
  "mutationRequestTimeout" (sub (mul 1000 (int $timeout.mutationTimeoutSeconds)) 50) -}}
{{- with $timeout.giveUpSeconds }}{{ $_ := set $executor "giveUpAfter" (mul 1000 (int .)) }}{{ end -}}
{{- with .Values.provider.mutationKeepsTag }}{{ $_ := set $executor "mutationKeepsTag" . }}{{ end -}}
{{- $config := dict
  "logger" (dict "formatter" .Values.logger.formatter "requestHeaders" (dict "traceIDHeaderName" $headers))
  "executor" $executor
  "crl" (dict "cache" (dict "enabled" .Values.crl.cache.enabled)) -}}
{{- $rules := default dict .Values.plugins -}}
{{- $plugins := dict -}}
{{- if kindIs "slice" $rules.allowedRepositories }}{{ $_ := set $plugins "allowedRepositories" $rules.allowedRepositories }}{{ end -}}
{{- with $rules.deniedDigests }}{{ $_ := set $plugins "deniedDigests" . }}{{ end -}}
{{- with $rules.lockFile }}{{ $_ := set $plugins "lockFile" . }}{{ end -}}
{{- with $rules.trustPolicy }}{{ $_ := set $plugins "trustPolicy" . }}{{ end -}}
{{- with $rules.requireDigest }}{{ $_ := set $plugins "requireDigest" . }}{{ end -}}
{{- with $rules.maxSizeBytes }}{{ $_ := set $plugins "maxSizeBytes" (int64 .) }}{{ end -}}
{{- $namespaced := dict -}}
{{- with ($rules.namespaces).source }}{{ $_ := set $namespaced "source" . }}{{ end -}}
{{- with ($rules.namespaces).anyAddress }}{{ $_ := set $namespaced "anyAddress" . }}{{ end -}}
{{- with $namespaced }}{{ $_ := set $plugins "namespaces" . }}{{ end -}}
{{- with $plugins }}{{ $_ := set $config "plugins" . }}{{ end -}}
{{- $ofNamespaces := dict -}}
{{- with (.Values.namespaces).tightenOnly }}{{ $_ := set $ofNamespaces "tightenOnly" . }}{{ end -}}
{{- with (.Values.namespaces).clusterCredentials }}{{ $_ := set $ofNamespaces "clusterCredentials" . }}{{ end -}}
{{- with $ofNamespaces }}{{ $_ := set $config "namespaces" . }}{{ end -}}
{{- $registries := dict -}}
{{- with (.Values.registries).allowedAddresses }}{{ $_ := set $registries "allowedAddresses" . }}{{ end -}}
{{- with (.Values.registries).timeouts }}{{ $_ := set $registries "timeouts" . }}{{ end -}}
{{- range include "ratify.registryFiles" . | fromJsonArray -}}
{{- if eq .name "credential-programs" -}}
{{- $_ := set $registries "credentialProviders" (dict "configPath" "/etc/ratify/credential-providers/config.yaml" "binDir" .mountPath) -}}
{{- else if hasPrefix "registry-hosts" .name -}}
{{- $_ := set $registries "hostsPath" "/etc/ratify/hosts" -}}
{{- end -}}
{{- end -}}
{{- with $registries }}{{ $_ := set $config "registries" . }}{{ end -}}
{{- toPrettyJson $config -}}
{{- end -}}

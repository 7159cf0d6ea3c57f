{{/* The parameters of the notation verifier, as YAML. */}}
{{- define "ratify.notation" -}}
{{- $name := include "ratify.fullname" . -}}
{{- $policies := .Values.notation.trustPolicies -}}
{{- $stores := dict -}}
{{- if and (eq (len $policies) 1) (empty (first $policies).trustStores) -}}
{{- $all := list -}}
{{- if or .Values.azurekeyvault.enabled .Values.akvCertConfig.enabled }}{{ $all = append $all "kmprovider-akv" }}{{ end -}}
{{- if .Values.notationCert }}{{ $all = append $all (printf "%s-notation-inline-cert" $name) }}{{ end -}}
{{- range $index, $_ := .Values.notationCerts }}{{ $all = append $all (printf "%s-notation-inline-cert-%d" $name $index) }}{{ end -}}
{{- $_ := set $stores "certs" $all -}}
{{- end -}}
{{- /* The trust stores of all policies are numbered through. */ -}}
{{- $next := 0 -}}
{{- $documents := list -}}
{{- range $index, $policy := $policies -}}
{{- $named := list -}}
{{- range $policy.trustStores -}}
{{- $parts := splitn ":" 2 . -}}
{{- if not (has $parts._0 (list "ca" "tsa" "signingAuthority")) }}{{ fail (printf "Unknown certificate type: %s" $parts._0) }}{{ end -}}
{{- $store := printf "cert-%d" $next -}}
{{- $next = add1 $next -}}
{{- $ofType := default dict (get $stores $parts._0) -}}
{{- $_ := set $ofType $store (list (include "ratify.trustStoreProvider" (dict "name" $name "reference" ($parts._1 | default "")))) -}}
{{- $_ := set $stores $parts._0 $ofType -}}
{{- $named = append $named (printf "%s:%s" $parts._0 $store) -}}
{{- end -}}
{{- $identities := list -}}
{{- range $policy.trustedIdentities | default (list "*") -}}
{{- $identities = append $identities (eq . "*" | ternary . (printf "x509.subject: %s" .)) -}}
{{- end -}}
{{- $documents = append $documents (dict
  "name" ($policy.name | default (printf "trustPolicy-%d" $index))
  "registryScopes" ($policy.registryScopes | default list)
  "signatureVerification" (dict "level" ($policy.level | default "strict"))
  "trustStores" ($named | default (list "ca:certs"))
  "trustedIdentities" $identities) -}}
{{- end -}}
{{- dict "verificationCertStores" $stores "trustPolicyDoc" (dict "version" "1.0" "trustPolicies" $documents) | toYaml -}}
{{- end -}}

{{/* The key provider that a trust store's reference stands for. */}}
{{- define "ratify.trustStoreProvider" -}}
{{- if hasPrefix "notationcerts" (lower .reference) -}}
{{- printf "%s-notation-inline-cert-%d" .name (regexReplaceAll "[^0-9]" .reference "" | int) -}}
{{- else if eq (lower .reference) "azurekeyvault" -}}
kmprovider-akv
{{- else -}}
{{- fail (printf "Unknown trust store reference: %s" .reference) -}}
{{- end -}}
{{- end -}}

{{/* The parameters of the cosign verifier, as YAML. */}}
{{- define "ratify.cosign" -}}
{{- $cosign := .Values.cosign -}}
{{- $keyless := $cosign.keyless -}}
{{- /* v1 reads the last one in one place and spells it otherwise there. */ -}}
{{- $issuers := $keyless.certificateOIDCIssuerRegExp | default $keyless.certificateOIDCIssuerExp -}}
{{- $isKeyless := or $keyless.certificateIdentity $keyless.certificateIdentityRegExp $keyless.certificateOIDCIssuer $issuers -}}
{{- $keys := list -}}
{{- $name := include "ratify.fullname" . -}}
{{- range $index, $_ := .Values.cosignKeys }}{{ $keys = append $keys (dict "provider" (printf "%s-cosign-inline-key-%d" $name $index)) }}{{ end -}}
{{- if and .Values.azurekeyvault.enabled .Values.azurekeyvault.keys }}{{ $keys = append $keys (dict "provider" "kmprovider-akv") }}{{ end -}}
{{- if or $keys $isKeyless -}}
{{- $policy := dict "name" "default" "version" "1.0.0" "scopes" $cosign.scopes "keys" $keys "tLogVerify" $cosign.tLogVerify -}}
{{- with $cosign.rekorURL }}{{ $_ := set $policy "rekorURL" . }}{{ end -}}
{{- if $isKeyless -}}
{{- $trusted := dict "ctLogVerify" $keyless.ctLogVerify -}}
{{- range $key, $value := dict "certificateIdentity" $keyless.certificateIdentity "certificateIdentityRegExp" $keyless.certificateIdentityRegExp "certificateOIDCIssuer" $keyless.certificateOIDCIssuer "certificateOIDCIssuerRegExp" $issuers -}}
{{- with $value }}{{ $_ := set $trusted $key . }}{{ end -}}
{{- end -}}
{{- $_ := set $policy "keyless" $trusted -}}
{{- end -}}
{{- dict "trustPolicies" (list $policy) | toYaml -}}
{{- else -}}
key: /usr/local/ratify-certs/cosign/cosign.pub
{{- end -}}
{{- end -}}

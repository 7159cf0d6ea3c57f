{{/*
Where certificates come from. Nothing is made up at random: two renders are the same bytes.
*/}}

{{/*
Whether the values hold the certificates. v1 wants all five of them; without rotation nothing is ever
signed with the CA's key, so that three are enough.
*/}}
{{- define "ratify.tlsIsProvided" -}}
{{- $tls := .Values.provider.tls -}}
{{- if and $tls.crt $tls.key $tls.cabundle -}}
{{- if or (not (include "ratify.isRotated" .)) (and $tls.caCert $tls.caKey) -}}true{{- end -}}
{{- end -}}
{{- end -}}

{{- define "ratify.tlsSecretName" -}}
{{- (.Values.provider.tls).existingSecret | default (printf "%s-tls" (include "ratify.fullname" .)) -}}
{{- end -}}

{{/* The authority in the Secret that is there now, in base64; nothing under `helm template`. */}}
{{- define "ratify.liveAuthority" -}}
{{- $secret := lookup "v1" "Secret" .Release.Namespace (include "ratify.tlsSecretName" .) -}}
{{- get (default dict $secret.data) "ca.crt" | replace "\n" "" -}}
{{- end -}}

{{/* What is wrong with the certificates' values, if anything. */}}
{{- define "ratify.tlsProblem" -}}
{{- $tls := .Values.provider.tls -}}
{{- $isThere := lookup "v1" "Secret" .Release.Namespace (include "ratify.tlsSecretName" .) -}}
{{- if and $tls.existingSecret (include "ratify.isRotated" .) -}}
provider.tls.existingSecret is kept by something else: RATIFY_CERT_ROTATION must be off with it.
{{- else if and $tls.existingSecret $tls.crt -}}
provider.tls.existingSecret and provider.tls.crt exclude each other.
{{- else if not (or $tls.existingSecret (include "ratify.tlsIsProvided" .) $isThere (include "ratify.isRotated" .)) -}}
You must provide a TLS certificate for Ratify to use or enable RATIFY_CERT_ROTATION to make Ratify generate its certificates.
{{- if or $tls.crt $tls.key $tls.cabundle }} Of provider.tls.crt, key and cabundle all three are needed.{{- end -}}
{{- end -}}
{{- end -}}

{{/*
What Gatekeeper trusts. While certificates are rotated the Secret's ca.crt holds the authority before
as well. Where there is nothing yet, Gatekeeper still refuses a Provider without a certificate; the
placeholder's validity ended in the year 2000, its key is gone, and it is good for names below
`invalid` only, so that it vouches for nobody.
*/}}
{{- define "ratify.caBundle" -}}
{{- $tls := .Values.provider.tls -}}
{{- $authority := include "ratify.liveAuthority" . -}}
{{- if and $tls.cabundle (or $tls.existingSecret (include "ratify.tlsIsProvided" .)) -}}
{{- $tls.cabundle -}}
{{- else if $authority -}}
{{- $authority -}}
{{- else if include "ratify.isRotated" . -}}
{{- .Files.Get "files/placeholder-ca.crt" | b64enc -}}
{{- else -}}
{{- fail (printf "Secret %s has no ca.crt: say in provider.tls.cabundle what Gatekeeper has to trust." (include "ratify.tlsSecretName" .)) -}}
{{- end -}}
{{- end -}}

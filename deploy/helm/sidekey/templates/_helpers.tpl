{{- define "sidekey.labels" -}}
app.kubernetes.io/name: sidekey
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "sidekey.config" -}}
{{- $config := dict
  "version" 1
  "proxy" (dict "listen" "0.0.0.0:8377" "authentication" "required" "unmatched" "deny")
  "key" (dict "source" "file" "path" "/secrets/master.key")
  "ca" (dict "directory" "/secrets")
  "audit" (dict "file" "/data/own/audit.jsonl" "sinks" (list (dict "type" "stdout")))
  "limits" (dict "drain" (printf "%ds" (int .Values.drainSeconds)))
-}}
{{- if .Values.tls.secret -}}
{{- $tls := dict "cert" "/tls/tls.crt" "key" "/tls/tls.key" -}}
{{- if .Values.tls.clientCa }}{{ $_ := set $tls "client_ca" "/tls/client-ca.crt" }}{{ end -}}
{{- $_ := set $config.proxy "tls" $tls -}}
{{- end -}}
{{- if .Values.serviceMonitor.enabled -}}
{{- if not .Values.tls.secret }}{{ fail "serviceMonitor.enabled needs tls.secret: keys of the API must not travel in the clear" }}{{ end -}}
{{- $tls := dict "cert" "/tls/tls.crt" "key" "/tls/tls.key" -}}
{{- $_ := set $config "admin" (dict "listen" "0.0.0.0:8378" "url" .Values.serviceMonitor.url "tls" $tls) -}}
{{- end -}}
{{- toYaml (mustMergeOverwrite $config (deepCopy .Values.config)) -}}
{{- end }}

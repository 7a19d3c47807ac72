{{- define "gitlab-runner.fullname" -}}
{{- if hasPrefix .Chart.Name .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-{{ .Chart.Name }}{{ end }}
{{- end }}
{{- define "gitlab-runner.cache.address" -}}
{{ printf "minio-%s.example.com" .Release.Name | quote }}
{{- end }}

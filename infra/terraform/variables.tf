variable "region" {
  description = "AWS region of buckets and keys; put the cluster there, too."
  type        = string
}

variable "prefix" {
  description = "Start of all names; bucket names are global, so choose one of your own."
  type        = string
}

variable "input_bucket_arns" {
  description = "Buckets with the source images and the manifest."
  type        = list(string)
}

variable "input_kms_key_arns" {
  description = "Keys that the input is encrypted with; empty if none."
  type        = list(string)
  default     = []
}

variable "reader_principal_arns" {
  description = "Who may take the reader's role; empty: whoever this account allows to."
  type        = list(string)
  default     = []
}

variable "eks_oidc_provider_arn" {
  description = "OIDC provider of an EKS cluster whose service account `anon-batch` may take the worker's role; null: none."
  type        = string
  default     = null
}

variable "eks_namespace" {
  description = "Namespace of that service account."
  type        = string
  default     = "default"
}

variable "region" {
  description = "AWS region of buckets and keys; put the cluster there, too."
  type        = string
}

variable "prefix" {
  description = "Start of all names; bucket names are global, so choose one of your own."
  type        = string
  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{1,53}[a-z0-9]$", var.prefix))
    error_message = "Use 3 to 55 lower-case letters, digits and hyphens, because names of buckets begin with it."
  }
}

variable "input_bucket_arns" {
  description = "Buckets with the source images and the manifest."
  type        = list(string)
  validation {
    condition     = length(var.input_bucket_arns) > 0 && alltrue([for arn in var.input_bucket_arns : can(regex("^arn:[^:]+:s3:::[^/*]+$", arn))])
    error_message = "Name at least one bucket as arn:aws:s3:::BUCKET, without a key behind it."
  }
}

variable "input_kms_key_arns" {
  description = "Keys that the input is encrypted with; empty if none."
  type        = list(string)
  default     = []
}

variable "image_repository_arns" {
  description = "ECR repositories from which machines of `ray up` pull the image; empty if it lies elsewhere. KubeRay's nodes pull it by their own role."
  type        = list(string)
  default     = []
}

variable "operator_principal_arns" {
  description = "Who may take the worker's role outside the cluster, to write manifests, review, release and erase; empty: nobody."
  type        = list(string)
  default     = []
}

variable "reader_principal_arns" {
  description = "Who may take the reader's role; empty: whoever this account allows to."
  type        = list(string)
  default     = []
}

variable "access_log_days" {
  description = "How many days the ledger's access logs are kept."
  type        = number
  default     = 365
  validation {
    condition     = var.access_log_days >= 1 && floor(var.access_log_days) == var.access_log_days
    error_message = "Use a whole number of days, 1 or more."
  }
}

variable "ray_cluster_name" {
  description = "`cluster_name` of the file for `ray up`: the head starts and stops machines that carry it alone."
  type        = string
  default     = "anon-batch"
}

variable "eks_oidc_provider_arn" {
  description = "OIDC provider of an EKS cluster whose service account `anon-batch` may take the worker's role; null: none."
  type        = string
  default     = null
  validation {
    condition     = var.eks_oidc_provider_arn == null || can(regex("^arn:[^:]+:iam::[0-9]+:oidc-provider/.+", var.eks_oidc_provider_arn))
    error_message = "Use the provider's ARN: arn:aws:iam::ACCOUNT:oidc-provider/ISSUER."
  }
}

variable "eks_namespace" {
  description = "Namespace of that service account."
  type        = string
  default     = "anon-batch"
}

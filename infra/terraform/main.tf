# Buckets for releases, ledgers and the ledgers' access logs, a key for each of the first two, and the roles that use them.
# docs/guides/cluster-aws.md leads from here to a finished run. Applied to a simulated account only: read the plan first.
#
#   release   what may be published: written by workers, read by readers
#   ledger    what leads back to the sources: workers alone
#   logs      who asked for what in the ledger: nobody but this account's administrators
#
# .terraform.lock.hcl pins the provider for linux_amd64. To work on another platform too, add its digests:
#   terraform providers lock -platform=linux_amd64 -platform=linux_arm64 -platform=darwin_arm64

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }
}

provider "aws" {
  region = var.region
  default_tags {
    tags = { application = "anon-batch" }
  }
}

data "aws_caller_identity" "this" {}

data "aws_partition" "this" {}

locals {
  account   = data.aws_caller_identity.this.account_id
  partition = data.aws_partition.this.partition
  buckets = {
    release = "${var.prefix}-release"
    ledger  = "${var.prefix}-ledger"
  }
  all_buckets = merge({ for name, bucket in aws_s3_bucket.this : name => bucket }, { logs = aws_s3_bucket.logs })
}

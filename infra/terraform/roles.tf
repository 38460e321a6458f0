# Workers read the input and write release and ledger. The head of a `ray up` cluster does so, too, as the driver runs there, and
# starts and stops machines. Readers see the release alone.

data "aws_iam_policy_document" "worker_trust" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }

  dynamic "statement" {
    for_each = var.eks_oidc_provider_arn == null ? [] : [var.eks_oidc_provider_arn]
    content {
      actions = ["sts:AssumeRoleWithWebIdentity"]
      principals {
        type        = "Federated"
        identifiers = [statement.value]
      }
      condition {
        test     = "StringEquals"
        variable = "${element(split("oidc-provider/", statement.value), 1)}:sub"
        values   = ["system:serviceaccount:${var.eks_namespace}:anon-batch"]
      }
    }
  }
}

data "aws_iam_policy_document" "worker" {
  statement {
    sid       = "ReadInput"
    actions   = ["s3:GetObject"]
    resources = [for bucket in var.input_bucket_arns : "${bucket}/*"]
  }
  statement {
    sid       = "ListInput"
    actions   = ["s3:ListBucket", "s3:GetBucketLocation"]
    resources = var.input_bucket_arns
  }
  statement {
    sid       = "WriteOutput"
    actions   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
    resources = [for bucket in aws_s3_bucket.this : "${bucket.arn}/*"]
  }
  statement {
    sid       = "ListOutput"
    actions   = ["s3:ListBucket", "s3:GetBucketLocation"]
    resources = [for bucket in aws_s3_bucket.this : bucket.arn]
  }
  statement {
    sid       = "UseKeys"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = [for key in aws_kms_key.this : key.arn]
  }
  dynamic "statement" {
    for_each = length(var.input_kms_key_arns) == 0 ? [] : [var.input_kms_key_arns]
    content {
      sid       = "DecryptInput"
      actions   = ["kms:Decrypt"]
      resources = statement.value
    }
  }
}

resource "aws_iam_role" "worker" {
  name               = "${var.prefix}-worker"
  assume_role_policy = data.aws_iam_policy_document.worker_trust.json
}

resource "aws_iam_role_policy" "worker" {
  name   = "data"
  role   = aws_iam_role.worker.id
  policy = data.aws_iam_policy_document.worker.json
}

resource "aws_iam_instance_profile" "worker" {
  name = "${var.prefix}-worker"
  role = aws_iam_role.worker.name
}

data "aws_iam_policy_document" "head_trust" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "head_machines" {
  statement {
    sid = "Machines"
    actions = [
      "ec2:RunInstances", "ec2:StartInstances", "ec2:StopInstances", "ec2:TerminateInstances", "ec2:CreateTags", "ec2:Describe*",
    ]
    resources = ["*"]
  }
  statement {
    sid       = "HandOutWorkerRole"
    actions   = ["iam:PassRole", "iam:GetInstanceProfile"]
    resources = [aws_iam_role.worker.arn, aws_iam_instance_profile.worker.arn]
  }
}

resource "aws_iam_role" "head" {
  name               = "${var.prefix}-head"
  assume_role_policy = data.aws_iam_policy_document.head_trust.json
}

resource "aws_iam_role_policy" "head_data" {
  name   = "data"
  role   = aws_iam_role.head.id
  policy = data.aws_iam_policy_document.worker.json
}

resource "aws_iam_role_policy" "head_machines" {
  name   = "machines"
  role   = aws_iam_role.head.id
  policy = data.aws_iam_policy_document.head_machines.json
}

resource "aws_iam_instance_profile" "head" {
  name = "${var.prefix}-head"
  role = aws_iam_role.head.name
}

data "aws_iam_policy_document" "reader_trust" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "AWS"
      identifiers = length(var.reader_principal_arns) > 0 ? var.reader_principal_arns : [data.aws_caller_identity.this.account_id]
    }
  }
}

data "aws_iam_policy_document" "reader" {
  statement {
    sid       = "ReadRelease"
    actions   = ["s3:GetObject"]
    resources = ["${aws_s3_bucket.this["release"].arn}/*"]
  }
  statement {
    sid       = "ListRelease"
    actions   = ["s3:ListBucket", "s3:GetBucketLocation"]
    resources = [aws_s3_bucket.this["release"].arn]
  }
  statement {
    sid       = "DecryptRelease"
    actions   = ["kms:Decrypt"]
    resources = [aws_kms_key.this["release"].arn]
  }
}

resource "aws_iam_role" "reader" {
  name               = "${var.prefix}-reader"
  assume_role_policy = data.aws_iam_policy_document.reader_trust.json
}

resource "aws_iam_role_policy" "reader" {
  name   = "release"
  role   = aws_iam_role.reader.id
  policy = data.aws_iam_policy_document.reader.json
}

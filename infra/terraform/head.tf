# The head of a `ray up` cluster runs the driver, so it does what workers do, and it starts and stops their machines: those that
# carry the tag of its own cluster, in one region, and no others. KubeRay needs none of this.

locals {
  ec2 = "arn:${local.partition}:ec2:${var.region}"
  parts = [
    "image", "key-pair", "launch-template", "network-interface", "security-group", "snapshot", "spot-instances-request", "subnet",
    "volume",
  ]
}

data "aws_iam_policy_document" "head_machines" {
  statement {
    sid = "Look"
    actions = [
      "ec2:DescribeAvailabilityZones", "ec2:DescribeImages", "ec2:DescribeInstances", "ec2:DescribeInstanceStatus",
      "ec2:DescribeInstanceTypes", "ec2:DescribeKeyPairs", "ec2:DescribeLaunchTemplateVersions", "ec2:DescribeRouteTables",
      "ec2:DescribeSecurityGroups", "ec2:DescribeSpotInstanceRequests", "ec2:DescribeSubnets", "ec2:DescribeTags",
      "ec2:DescribeVolumes", "ec2:DescribeVpcs",
    ]
    resources = ["*"] # because EC2 knows no narrower resource for these
    condition {
      test     = "StringEquals"
      variable = "aws:RequestedRegion"
      values   = [var.region]
    }
  }

  statement {
    sid       = "StartWithTag"
    actions   = ["ec2:RunInstances"]
    resources = ["${local.ec2}:${local.account}:instance/*"]
    condition {
      test     = "StringEquals"
      variable = "aws:RequestTag/ray-cluster-name"
      values   = [var.ray_cluster_name]
    }
  }

  # What a new machine is made of. Ray gives its tag to the machine alone, so these cannot be bound to it.
  statement {
    sid     = "StartFrom"
    actions = ["ec2:RunInstances"]
    resources = concat(
      [for kind in ["image", "snapshot"] : "${local.ec2}::${kind}/*"],
      [for kind in local.parts : "${local.ec2}:${local.account}:${kind}/*"],
    )
  }

  statement {
    sid       = "TagWhileStarting"
    actions   = ["ec2:CreateTags"]
    resources = ["${local.ec2}:${local.account}:instance/*"]
    condition {
      test     = "StringEquals"
      variable = "ec2:CreateAction"
      values   = ["RunInstances"]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:RequestTag/ray-cluster-name"
      values   = [var.ray_cluster_name]
    }
  }

  statement {
    sid       = "KeepOwn"
    actions   = ["ec2:CreateTags", "ec2:StartInstances", "ec2:StopInstances", "ec2:TerminateInstances"]
    resources = ["${local.ec2}:${local.account}:instance/*"]
    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/ray-cluster-name"
      values   = [var.ray_cluster_name]
    }
  }

  statement {
    sid       = "HandOutWorkerRole"
    actions   = ["iam:PassRole"]
    resources = [aws_iam_role.worker.arn]
    condition {
      test     = "StringEquals"
      variable = "iam:PassedToService"
      values   = ["ec2.amazonaws.com"]
    }
  }

  statement {
    sid       = "LookAtWorkerProfile"
    actions   = ["iam:GetInstanceProfile"]
    resources = [aws_iam_instance_profile.worker.arn]
  }

  # An account's first spot machine needs this role; where it exists already nothing is created.
  statement {
    sid       = "FirstSpotMachine"
    actions   = ["iam:CreateServiceLinkedRole"]
    resources = ["arn:${local.partition}:iam::${local.account}:role/aws-service-role/spot.amazonaws.com/AWSServiceRoleForEC2Spot"]
    condition {
      test     = "StringEquals"
      variable = "iam:AWSServiceName"
      values   = ["spot.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "head" {
  name               = "${var.prefix}-head"
  assume_role_policy = data.aws_iam_policy_document.ec2_trust.json
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

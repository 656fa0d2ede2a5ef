# A registry and two tokens at a Wharfinger. README.md says where the address and the credentials come from.

terraform {
  required_version = ">= 1.5"
  required_providers {
    ionoscloud = {
      source = "ionos-cloud/ionoscloud"
    }
  }
}

# Left empty on purpose: IONOS_API_URL, IONOS_USERNAME and IONOS_PASSWORD say it all.
provider "ionoscloud" {}

resource "ionoscloud_container_registry" "team_a" {
  name     = "team-a"
  location = "de/fra"

  garbage_collection_schedule {
    days = ["Monday", "Tuesday"]
    time = "05:19:00+00:00"
  }

  features {
    vulnerability_scanning = true
  }

  api_subnet_allow_list = ["10.1.0.0/16"]
}

resource "ionoscloud_container_registry_token" "push" {
  registry_id = ionoscloud_container_registry.team_a.id
  name        = "ci-push"
  status      = "enabled"
  # A space, not a T: the provider reads no other form.
  expiry_date = "2036-01-13 16:27:42Z"

  scopes {
    actions = ["pull", "push"]
    name    = "*"
    type    = "repository"
  }

  save_password_to_file = "ci-push.password"
}

resource "ionoscloud_container_registry_token" "pull" {
  registry_id = ionoscloud_container_registry.team_a.id
  name        = "cluster-pull"

  scopes {
    actions = ["pull"]
    name    = "team/*"
    type    = "repository"
  }
}

data "ionoscloud_container_registry_locations" "all" {}

output "hostname" {
  value = ionoscloud_container_registry.team_a.hostname
}

output "locations" {
  value = data.ionoscloud_container_registry_locations.all.locations
}

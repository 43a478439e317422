//! Access policies: read with an etag, written only with the same.

use super::{Answer, Asked, Refusal, World, fields, invalid, not_found};
use serde_json::{Value, json};

impl World {
    pub(super) fn policy(&mut self, asked: &Asked, service: &str) -> Answer {
        let name = &asked.name;
        let is_there = match service {
            "cloudresourcemanager.googleapis.com" => true,
            "bigquery.googleapis.com" | "secretmanager.googleapis.com" => self.policies.contains_key(name),
            _ => self.things.contains_key(name),
        };
        if !is_there {
            return Err(not_found(name));
        }
        let by_get = matches!(service, "pubsub.googleapis.com" | "run.googleapis.com" | "secretmanager.googleapis.com");
        match (asked.verb, asked.method) {
            (":getIamPolicy", "GET") if by_get => {
                asked.only(&["options.requestedPolicyVersion"])?;
                Ok(self.policy_of(name))
            }
            (":getIamPolicy", "POST") if !by_get => {
                asked.only(&[])?;
                fields::check(&asked.body, "options(requestedPolicyVersion)")?;
                Ok(self.policy_of(name))
            }
            (":setIamPolicy", "POST") => {
                asked.only(&[])?;
                fields::check(&asked.body, "policy(version etag bindings(role members condition*)) updateMask")?;
                self.set_policy(name, &asked.body["policy"], 409)
            }
            _ => Err(not_found(&format!("{}{}", asked.name, asked.verb))),
        }
    }

    pub(super) fn policy_of(&mut self, name: &str) -> Value {
        self.policies
            .entry(name.to_owned())
            .or_insert_with(|| json!({"version": 1, "etag": "BwA=", "bindings": []}))
            .clone()
    }

    /// `stale` is the status for an old etag: 409 in most services, 412 in Cloud Storage.
    pub(super) fn set_policy(&mut self, name: &str, policy: &Value, stale: u16) -> Answer {
        let there = self.policy_of(name);
        // The services take a policy without an etag and lose what others wrote: refused here, as nobody should.
        if policy["etag"] != there["etag"] {
            let message = format!("There were concurrent policy changes: {}", policy["etag"]);
            return Err(Refusal(stale, if stale == 412 { "conditionNotMet" } else { "ABORTED" }, message));
        }
        for binding in policy["bindings"].as_array().into_iter().flatten() {
            if !binding["role"].as_str().is_some_and(|role| role.starts_with("roles/") || role.contains("/roles/")) {
                return Err(invalid(format!("Invalid role {}", binding["role"])));
            }
            for member in binding["members"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                self.is_member(member)?;
                let enforced = self
                    .things
                    .get(name)
                    .is_some_and(|t| t["iamConfiguration"]["publicAccessPrevention"] == "enforced");
                if member == "allUsers" && enforced {
                    let message = "The member bindings allUsers and allAuthenticatedUsers are not allowed since public access prevention is enforced.";
                    return Err(Refusal(412, "conditionNotMet", message.into()));
                }
            }
        }
        let mut new = policy.clone();
        new["etag"] = format!("Bw{}=", self.number()).into();
        self.policies.insert(name.to_owned(), new.clone());
        Ok(new)
    }

    fn is_member(&mut self, member: &str) -> Result<(), Refusal> {
        if member == "allUsers" {
            let refused = "One or more users named in the policy do not belong to a permitted customer.";
            return if self.no_public_members { Err(invalid(refused)) } else { Ok(()) };
        }
        let Some((kind, who)) = member.split_once(':') else { return Err(invalid(format!("Invalid member {member}"))) };
        if who == "service-123456789@gcp-sa-pubsub.iam.gserviceaccount.com" && !self.agent_made {
            return Err(invalid(format!("Service account {who} does not exist.")));
        }
        if kind != "serviceAccount" || who.starts_with("service-123456789@gcp-sa-") || !who.contains(".iam.") {
            return Ok(());
        }
        let account = self.things.iter().any(|(name, t)| name.contains("/serviceAccounts/") && t["email"] == who);
        if !account || self.accounts_unknown_for > 0 {
            self.accounts_unknown_for = self.accounts_unknown_for.saturating_sub(1);
            return Err(invalid(format!("Service account {who} does not exist.")));
        }
        Ok(())
    }
}

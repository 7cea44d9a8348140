//! `UpdateUser`.

use hearth_domain::User;
use hearth_proto::gateway as pb;

use super::SUPPORTED_FIELDS;
use crate::error::ServerError;
use crate::gateway::given::changed_fields;
use crate::gateway::{Call, names};

/// Changes a user. Admins only. The user's keys follow at once.
pub(in crate::gateway) async fn user_update(
    call: &Call,
    request: pb::UpdateUserRequest,
) -> Result<pb::User, ServerError> {
    let given = request.user.unwrap_or_default();
    let (account, id) = names::user("user.name", &given.name)?;
    call.caller.may_administer(&account)?;
    let mask = request.update_mask.as_ref();
    let fields = changed_fields("User", "user.", &given, mask, &call.present, SUPPORTED_FIELDS)?;
    super::check_texts(&given)?;
    let role = super::role(&given.role)?;
    let now_ms = crate::now_ms();
    let change = |user: &mut User| {
        for field in &fields {
            match field.as_str() {
                "displayName" => user.display_name.clone_from(&given.display_name),
                "firstName" => user.first_name.clone_from(&given.first_name),
                "lastName" => user.last_name.clone_from(&given.last_name),
                "statedRole" => user.stated_role.clone_from(&given.stated_role),
                "serviceAccount" => user.service_account = given.service_account,
                "role" => user.role = role,
                "email" => user.email.clone_from(&given.email),
                other => unreachable!("{other} is not a supported field"),
            }
        }
        user.update_time_ms = now_ms;
        Ok::<(), ServerError>(())
    };
    let user = call.state.store().user_update(&account, &id, change).await?;
    Ok(super::to_pb(&user))
}

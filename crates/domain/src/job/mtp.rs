//! Heads that predict several tokens. Their fields are checked here, and refused with all that is not built.

use super::JobRequest;
use super::check::Checker;
use crate::code::Code;

/// Most tokens that such heads may predict.
pub const MTP_NUM_DRAFT_TOKENS_MAX: i32 = 3;

pub(super) fn check(check: &mut Checker, request: &JobRequest) {
    let tokens = request.mtp_num_draft_tokens;
    if !(0..=MTP_NUM_DRAFT_TOKENS_MAX).contains(&tokens) {
        let message = format!("{tokens} is not between 0 and {MTP_NUM_DRAFT_TOKENS_MAX} (0 is the default)");
        check.add(Code::InvalidArgument, "mtpNumDraftTokens", message);
    }
    let alone = [("mtpNumDraftTokens", tokens != 0), ("mtpFreezeBaseModel", request.mtp_freeze_base_model)];
    for (field, given) in alone {
        if given && !request.mtp_enabled {
            check.add(Code::InvalidArgument, field, "has a meaning only with mtpEnabled");
        }
    }
}

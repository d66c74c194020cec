//! The store of batch files: knows no credentials, only signed links.

use std::time::Duration;

use hyper::Method;

use super::answer::Answer;
use super::batch_files::sign;
use super::call::{AuthKind, Call};
use super::reply::Reply;
use super::world::World;
use crate::model::Timestamp;

pub(super) fn serve(world: &World, call: &Call, account: Option<&str>) -> Reply {
    let mut state = world.state();
    let refuse = |answer: Answer| answer.to(call, world.wall());
    if call.authorization().0 != AuthKind::None {
        state.violation(call, "an Authorization at the object store");
        let both = "Only one auth mechanism allowed";
        return refuse(Answer::xml(400, "InvalidArgument", both));
    }
    if call.method != Method::GET {
        state.violation(call, "the object store takes GET only");
        return refuse(Answer::xml(405, "MethodNotAllowed", "use GET"));
    }
    let number = |name| call.parameter(name)?.parse::<u64>().ok();
    let (Some(issued), Some(lifetime)) = (number("X-Amz-Date"), number("X-Amz-Expires")) else {
        state.violation(call, "a link without its signature");
        return refuse(Answer::xml(403, "AccessDenied", "Access Denied"));
    };
    let issued = Timestamp::from_millis(i64::try_from(issued).unwrap_or(i64::MAX));
    let lifetime = Duration::from_millis(lifetime);
    let signature = sign(world, &call.path, issued, lifetime);
    if call.parameter("X-Amz-Signature") != Some(signature.as_str()) {
        state.violation(call, "a link that was changed");
        let wrong = "The request signature does not match";
        return refuse(Answer::xml(403, "SignatureDoesNotMatch", wrong));
    }
    let void = state.links_void_before.is_some_and(|end| issued <= end);
    if void || world.now() >= issued + lifetime {
        return refuse(Answer::expired_link());
    }
    let member = account.and_then(|account| state.accounts.get(account));
    member
        .and_then(|member| member.shelf.objects.get(&call.path))
        .map_or_else(
            || refuse(Answer::missing_object()),
            |body| Reply::new(200, "application/gzip", body.clone()),
        )
}

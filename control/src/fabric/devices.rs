//! Terminals that sign in, as edges ask about them.

use std::net::IpAddr;

use proto::fabric::{
    DeviceAnswer, DeviceBegun, DeviceDecided, DeviceFound, DevicePolled, DeviceQuestion,
    DeviceRefusal, DeviceRefusalKind, device_answer::Outcome, device_question::Kind,
};

use super::{FabricContext, accounts::AdmittedEdge, refusal::Refusal};
use crate::devices::{DeviceDigest, GRANT_BYTES_MAX, INTERVAL, LIFE, PROGRAM_CHARS_MAX, Refused};

/// Answers one question.
pub(super) fn answer(
    context: &FabricContext,
    _: &AdmittedEdge,
    question: DeviceQuestion,
) -> Result<DeviceAnswer, Refusal> {
    let client = question.client.parse();
    let client = client.map_err(|_| Refusal::Protocol("the client is no IP address"))?;
    let kind = question.kind;
    let kind = kind.ok_or(Refusal::Protocol("nothing is asked about a terminal"))?;
    let outcome = match outcome(context, kind, client)? {
        Ok(outcome) => outcome,
        Err(refused) => Outcome::Refusal(DeviceRefusal {
            kind: match refused {
                Refused::Unknown => DeviceRefusalKind::Unknown.into(),
                Refused::TooMany => DeviceRefusalKind::TooMany.into(),
            },
        }),
    };
    Ok(DeviceAnswer {
        outcome: Some(outcome),
    })
}

fn outcome(
    context: &FabricContext,
    kind: Kind,
    client: IpAddr,
) -> Result<Result<Outcome, Refused>, Refusal> {
    let (devices, now) = (&context.devices, context.clock.now());
    Ok(match kind {
        Kind::Begin(begin) => {
            let device = digest(&begin.device_sha256)?;
            let program = begin.program;
            if program.chars().count() > PROGRAM_CHARS_MAX || program.contains(char::is_control) {
                return Err(Refusal::Protocol("the name of a program is too long"));
            }
            let code = devices.begin(device, program, client, now);
            code.map(|user_code| {
                Outcome::Begun(DeviceBegun {
                    user_code,
                    expires_in_s: seconds(LIFE),
                    interval_s: seconds(INTERVAL),
                })
            })
        }
        Kind::Find(find) => devices.find(&find.user_code, client, now).map(|found| {
            Outcome::Found(DeviceFound {
                device_sha256: found.device.to_vec().into(),
                program: found.program,
                client: found.client.to_string(),
                age_s: seconds(found.age),
            })
        }),
        Kind::Decide(decide) => {
            let device = digest(&decide.device_sha256)?;
            if decide.grant.len() > GRANT_BYTES_MAX {
                return Err(Refusal::Protocol("what a terminal is granted is too long"));
            }
            let decided = devices.decide(&decide.user_code, &device, decide.grant, now);
            decided.map(|()| Outcome::Decided(DeviceDecided {}))
        }
        Kind::Poll(poll) => {
            let (state, grant) = devices.poll(&digest(&poll.device_sha256)?, now);
            let state = state.into();
            Ok(Outcome::Polled(DevicePolled { state, grant }))
        }
    })
}

fn digest(bytes: &[u8]) -> Result<DeviceDigest, Refusal> {
    let digest = bytes.try_into();
    digest.map_err(|_| Refusal::Protocol("the digest of a terminal's code has 32 bytes"))
}

fn seconds(span: std::time::Duration) -> u32 {
    u32::try_from(span.as_secs()).unwrap_or(u32::MAX)
}

//! The service control manager of Windows: it starts a process, which says within 30 s that it is a service, and is then asked to end by it.
//!
//! What it calls is a function without arguments of ours, on a thread of its own; so what that is to do, and whom to tell, are kept here.

use std::{
    future,
    io::{self, ErrorKind},
    sync::{Mutex, OnceLock, PoisonError},
    time::Duration,
};

use tokio::sync::watch;
use windows_service::{
    Error, define_windows_service,
    service::{
        ServiceControl, ServiceControlAccept, ServiceExitCode, ServiceState, ServiceStatus,
        ServiceType,
    },
    service_control_handler::{self, ServiceControlHandlerResult, ServiceStatusHandle},
    service_dispatcher,
};

/// The only service of a process needs no name here.
const NAME: &str = "";

/// `ERROR_FAILED_SERVICE_CONTROLLER_CONNECT`: it was not the manager that started this process.
const NOT_A_SERVICE: i32 = 1063;

/// How long a start may take before the manager thinks that it hangs: control, and its proxy, may be slow to answer.
const START_MAX: Duration = Duration::from_secs(120);

/// Longest time that the manager is told of; its own field has 49 days of milliseconds.
const WAIT_HINT_MAX: Duration = Duration::from_secs(24 * 3_600);

type Body = Box<dyn FnOnce() -> u8 + Send>;

/// What the service is to do, until it begins.
static BODY: Mutex<Option<Body>> = Mutex::new(None);

/// Tells this process that it is asked to end. What the manager calls must own nothing: it is freed with the first stop, and there may be others.
static ASKING: OnceLock<watch::Sender<Option<&'static str>>> = OnceLock::new();

/// The service that this process is, if it is one.
static CARRIED: OnceLock<Carried> = OnceLock::new();

#[derive(Debug)]
struct Carried {
    handle: ServiceStatusHandle,
    asked: watch::Receiver<Option<&'static str>>,
    /// What it ended with.
    code: OnceLock<u8>,
}

define_windows_service!(called, serve);

/// Lives as `body` does, whose exit code it gives: as a service, if the service control manager started this process, which is told of the start
/// and the end; else as it is.
///
/// # Errors
/// The manager does not take the service.
pub fn within(body: impl FnOnce() -> u8 + Send + 'static) -> io::Result<u8> {
    *kept() = Some(Box::new(body));
    match service_dispatcher::start(NAME, called) {
        Ok(()) => {
            let code = CARRIED.get().and_then(|carried| carried.code.get());
            code.copied()
                .ok_or_else(|| io::Error::other("the service did not begin"))
        }
        Err(Error::Winapi(error)) if error.raw_os_error() == Some(NOT_A_SERVICE) => {
            let body = kept().take();
            Ok(body.ok_or(ErrorKind::NotFound)?())
        }
        Err(error) => Err(io::Error::other(error)),
    }
}

fn kept() -> std::sync::MutexGuard<'static, Option<Body>> {
    BODY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether this process has no standard error that anybody reads, as its service manager gives it none.
#[must_use]
pub fn is_carried() -> bool {
    CARRIED.get().is_some()
}

fn serve(_arguments: Vec<std::ffi::OsString>) {
    let asked = ASKING.get_or_init(|| watch::Sender::new(None)).subscribe();
    let answer = |control| {
        let which = match control {
            ServiceControl::Stop => "SERVICE_STOP",
            ServiceControl::Shutdown => "SERVICE_SHUTDOWN",
            ServiceControl::Preshutdown => "SERVICE_PRESHUTDOWN",
            ServiceControl::Interrogate => return ServiceControlHandlerResult::NoError,
            _ => return ServiceControlHandlerResult::NotImplemented,
        };
        if let Some(asking) = ASKING.get() {
            // Once: the manager may ask again before it hears that this process is at it, which is nobody's haste.
            asking.send_if_modified(|asked| {
                let is_first = asked.is_none();
                asked.get_or_insert(which);
                is_first
            });
        }
        ServiceControlHandlerResult::NoError
    };
    // Without it nobody could be told, nor end the service: the manager sees it end without a word, and says so.
    let Ok(handle) = service_control_handler::register(NAME, answer) else {
        return;
    };
    let carried = CARRIED.get_or_init(|| Carried {
        handle,
        asked,
        code: OnceLock::new(),
    });
    carried.tell(&starting());
    let Some(body) = kept().take() else { return };
    let code = body();
    // Before the manager hears of the end, as the process may not live long after.
    let _ = carried.code.set(code);
    carried.tell(&ended(code));
}

impl Carried {
    fn tell(&self, status: &ServiceStatus) {
        if let Err(error) = self.handle.set_service_status(status.clone()) {
            tracing::warn!(%error, state = ?status.current_state, "the service manager cannot be told");
        }
    }
}

/// While it starts it cannot be stopped: no service can.
fn starting() -> ServiceStatus {
    ServiceStatus {
        service_type: ServiceType::OWN_PROCESS,
        current_state: ServiceState::StartPending,
        controls_accepted: ServiceControlAccept::empty(),
        exit_code: ServiceExitCode::NO_ERROR,
        checkpoint: 0,
        wait_hint: START_MAX,
        process_id: None,
    }
}

/// Before a shutdown it has the time that its manager gives it for that; at the shutdown itself, five seconds.
fn running() -> ServiceStatus {
    ServiceStatus {
        current_state: ServiceState::Running,
        controls_accepted: ServiceControlAccept::STOP
            | ServiceControlAccept::SHUTDOWN
            | ServiceControlAccept::PRESHUTDOWN,
        wait_hint: Duration::ZERO,
        ..starting()
    }
}

/// It was asked, and need not be again.
fn stopping(within: Duration) -> ServiceStatus {
    ServiceStatus {
        current_state: ServiceState::StopPending,
        wait_hint: within.min(WAIT_HINT_MAX),
        ..starting()
    }
}

fn ended(code: u8) -> ServiceStatus {
    ServiceStatus {
        current_state: ServiceState::Stopped,
        exit_code: match code {
            0 => ServiceExitCode::NO_ERROR,
            // As the process's own.
            code => ServiceExitCode::ServiceSpecific(code.into()),
        },
        wait_hint: Duration::ZERO,
        ..starting()
    }
}

/// Tells the service manager how this process does.
#[derive(Debug, Default)]
pub struct ServiceManager {
    carried: Option<&'static Carried>,
}

impl ServiceManager {
    /// The one that started this process, if one did.
    ///
    /// # Errors
    /// None; they are of Unix.
    pub fn of_environment() -> io::Result<Self> {
        let carried = CARRIED.get();
        Ok(Self { carried })
    }

    /// The process does what it is for.
    pub fn ready(&self, _status: &str) {
        self.tell(&running());
    }

    /// The process has been asked to end and does so, within this time.
    pub fn stopping(&self, _status: &str, within: Duration) {
        self.tell(&stopping(within));
    }

    /// The process lives: nothing that this manager asks for.
    pub fn alive(&self) {}

    /// How often the manager wants to hear that the process lives: never.
    #[must_use]
    pub fn sign_interval(&self) -> Option<Duration> {
        None
    }

    fn tell(&self, status: &ServiceStatus) {
        if let Some(carried) = self.carried {
            carried.tell(status);
        }
    }
}

/// Hears of it when the manager asks this process to end.
#[derive(Debug)]
pub(crate) struct StopAsked(Option<watch::Receiver<Option<&'static str>>>);

impl StopAsked {
    pub(crate) fn listen() -> Self {
        Self(CARRIED.get().map(|carried| carried.asked.clone()))
    }

    /// Waits for the next time, and says how it was asked; for ever where there is no manager. Cancel-safe.
    pub(crate) async fn next(&mut self) -> &'static str {
        while let Some(asked) = &mut self.0 {
            if asked.changed().await.is_err() {
                break;
            }
            if let Some(which) = *asked.borrow_and_update() {
                return which;
            }
        }
        future::pending().await
    }
}

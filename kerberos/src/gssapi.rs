//! The system's GSSAPI, as far as constrained delegation needs it: the only file of this crate with unsafe code.
//!
//! Ten C functions of MIT Kerberos, written down after its `gssapi/gssapi.h` and `gssapi_ext.h` (1.20), behind types that free what they
//! hold. The library is opened at run time and never closed again. MIT's credentials and names may be used by several threads at once,
//! each locks itself; a context belongs to one at a time.

#![expect(
    unsafe_code,
    reason = "calls of a C library; nothing else of this crate does any"
)]

use std::{
    ffi::{CString, c_char, c_int, c_void},
    fmt,
    path::Path,
    ptr, slice,
    sync::OnceLock,
    time::Duration,
};

/// MIT Kerberos, of every version since 1.11; Heimdal's library has another name, and other credential stores.
pub(crate) const LIBRARY: &str = "libgssapi_krb5.so.2";

/// Kerberos 5 itself, 1.2.840.113554.1.2.2: of credentials and contexts alike. A credential of one mechanism and a context of another
/// would not fail: MIT then takes the process's default credential, which may be anybody's.
const MECHANISM: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x12, 0x01, 0x02, 0x02];
/// `GSS_KRB5_NT_PRINCIPAL_NAME`.
const PRINCIPAL: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x12, 0x01, 0x02, 0x02, 0x01];
/// `GSS_KRB5_NT_ENTERPRISE_NAME`.
const ENTERPRISE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x12, 0x01, 0x02, 0x02, 0x06];

/// One without keys: of none that is said, the library takes the host's.
const EMPTY_KEYTAB: &[u8] = b"MEMORY:adit-empty";

const INDEFINITE: u32 = u32::MAX;
const INITIATE: c_int = 1;
const MUTUAL: u32 = 2;
const CONTINUE_NEEDED: u32 = 1;
/// Bits of a major status that are errors; the others only inform.
const ERRORS: u32 = 0xffff_0000;
const OF_GSSAPI: c_int = 1;
const OF_MECHANISM: c_int = 2;
/// Parts of one message; MIT has one.
const MESSAGE_PARTS_MAX: usize = 4;
/// Characters of one message that are kept.
const MESSAGE_CHARS_MAX: usize = 512;

#[repr(C)]
struct Buffer {
    length: usize,
    value: *mut c_void,
}

#[repr(C)]
struct Oid {
    length: u32,
    elements: *const c_void,
}

#[repr(C)]
struct OidSet {
    count: usize,
    elements: *const Oid,
}

#[repr(C)]
struct Setting {
    key: *const c_char,
    value: *const c_char,
}

#[repr(C)]
struct Store {
    count: u32,
    elements: *const Setting,
}

#[repr(C)]
struct ChannelBindings {
    initiator_kind: u32,
    initiator: Buffer,
    acceptor_kind: u32,
    acceptor: Buffer,
    application: Buffer,
}

type Handle = *mut c_void;
type ImportName = unsafe extern "C" fn(*mut u32, *const Buffer, *const Oid, *mut Handle) -> u32;
type Release = unsafe extern "C" fn(*mut u32, *mut Handle) -> u32;
type ReleaseBuffer = unsafe extern "C" fn(*mut u32, *mut Buffer) -> u32;
type DeleteContext = unsafe extern "C" fn(*mut u32, *mut Handle, *mut Buffer) -> u32;
type AcquireFrom = unsafe extern "C" fn(
    *mut u32,
    Handle,
    u32,
    *const OidSet,
    c_int,
    *const Store,
    *mut Handle,
    *mut *mut OidSet,
    *mut u32,
) -> u32;
type Impersonate = unsafe extern "C" fn(
    *mut u32,
    Handle,
    Handle,
    u32,
    *const OidSet,
    c_int,
    *mut Handle,
    *mut *mut OidSet,
    *mut u32,
) -> u32;
type Inquire = unsafe extern "C" fn(
    *mut u32,
    Handle,
    *mut Handle,
    *mut u32,
    *mut c_int,
    *mut *mut OidSet,
) -> u32;
type InitContext = unsafe extern "C" fn(
    *mut u32,
    Handle,
    *mut Handle,
    Handle,
    *const Oid,
    u32,
    u32,
    *const ChannelBindings,
    *const Buffer,
    *mut *mut Oid,
    *mut Buffer,
    *mut u32,
    *mut u32,
) -> u32;
type DisplayStatus =
    unsafe extern "C" fn(*mut u32, u32, c_int, *const Oid, *mut u32, *mut Buffer) -> u32;

/// The functions, once the library is open.
pub(crate) struct Library {
    import_name: ImportName,
    release_name: Release,
    acquire_from: AcquireFrom,
    impersonate: Impersonate,
    inquire: Inquire,
    release_credential: Release,
    init_context: InitContext,
    delete_context: DeleteContext,
    release_buffer: ReleaseBuffer,
    display_status: DisplayStatus,
    /// Keeps the functions where they are.
    _open: libloading::Library,
}

impl Library {
    /// Opens it, the first time; it then stays for the life of the process, as it keeps things of its own in threads.
    pub(crate) fn open() -> Result<&'static Self, libloading::Error> {
        static OPEN: OnceLock<Library> = OnceLock::new();
        if let Some(library) = OPEN.get() {
            return Ok(library);
        }
        let library = Self::load()?;
        Ok(OPEN.get_or_init(|| library))
    }

    fn load() -> Result<Self, libloading::Error> {
        // SAFETY: what the library runs when it is opened prepares itself only; it starts no thread and touches no environment.
        let open = unsafe { libloading::Library::new(LIBRARY) }?;
        // SAFETY: each field's type is that of the function in MIT's headers, and `open` lives as long as the functions are kept.
        unsafe {
            Ok(Self {
                import_name: *open.get::<ImportName>("gss_import_name")?,
                release_name: *open.get::<Release>("gss_release_name")?,
                acquire_from: *open.get::<AcquireFrom>("gss_acquire_cred_from")?,
                impersonate: *open.get::<Impersonate>("gss_acquire_cred_impersonate_name")?,
                inquire: *open.get::<Inquire>("gss_inquire_cred")?,
                release_credential: *open.get::<Release>("gss_release_cred")?,
                init_context: *open.get::<InitContext>("gss_init_sec_context")?,
                delete_context: *open.get::<DeleteContext>("gss_delete_sec_context")?,
                release_buffer: *open.get::<ReleaseBuffer>("gss_release_buffer")?,
                display_status: *open.get::<DisplayStatus>("gss_display_status")?,
                _open: open,
            })
        }
    }

    /// A name of a user, a service or the agent. Asks nobody.
    pub(crate) fn name(&'static self, text: &str, kind: NameKind) -> Result<Name, Status> {
        let text = text.as_bytes();
        let kind = Oid::of(match kind {
            NameKind::Principal => PRINCIPAL,
            NameKind::Enterprise => ENTERPRISE,
        });
        let (mut minor, mut handle) = (0, ptr::null_mut());
        // SAFETY: the library copies the text and the kind, which live until it returns, and gives a handle that is ours to release.
        let major = unsafe {
            (self.import_name)(&raw mut minor, &Buffer::of(text), &kind, &raw mut handle)
        };
        self.done(major, minor)?;
        Ok(Name {
            library: self,
            handle,
        })
    }

    /// Opens the agent's own credential: `principal` with its key in the file `keytab`, and its tickets in memory under the name `cache`.
    ///
    /// Asks the KDC only where [`Credential::life`] is called and the cache has no ticket, or one whose life is more than half over; without a keytab never.
    pub(crate) fn acquire(
        &'static self,
        principal: &Name,
        keytab: Option<&Path>,
        cache: &str,
    ) -> Result<Credential, Status> {
        let keytab = match keytab {
            Some(path) => [b"FILE:", path.as_os_str().as_encoded_bytes()].concat(),
            None => EMPTY_KEYTAB.to_vec(),
        };
        let texts = [keytab, format!("MEMORY:{cache}").into_bytes()].map(CString::new);
        let [Ok(keytab), Ok(cache)] = texts else {
            return Err(Status::of_ours("a NUL in the keytab's path"));
        };
        let settings = [
            Setting {
                key: c"client_keytab".as_ptr(),
                value: keytab.as_ptr(),
            },
            Setting {
                key: c"ccache".as_ptr(),
                value: cache.as_ptr(),
            },
        ];
        let store = Store {
            count: 2,
            elements: settings.as_ptr(),
        };
        let mechanism = Oid::of(MECHANISM);
        let (mut minor, mut handle) = (0, ptr::null_mut());
        // SAFETY: name, set and store live until the call returns, which keeps none of them; the handle is ours to release.
        let major = unsafe {
            (self.acquire_from)(
                &raw mut minor,
                principal.handle,
                INDEFINITE,
                &OidSet::of(&mechanism),
                INITIATE,
                &store,
                &raw mut handle,
                ptr::null_mut(),
                ptr::null_mut(),
            )
        };
        self.done(major, minor)?;
        Ok(Credential {
            library: self,
            handle,
        })
    }

    /// Makes a result of what a function returned, with its words: they are kept per thread, and only until the next call.
    fn done(&self, major: u32, minor: u32) -> Result<(), Status> {
        if major & ERRORS == 0 {
            return Ok(());
        }
        let text = match minor {
            0 => self.words(major, OF_GSSAPI),
            minor => self.words(minor, OF_MECHANISM),
        };
        Err(Status {
            major,
            minor: minor.cast_signed(),
            text,
        })
    }

    fn words(&self, status: u32, kind: c_int) -> String {
        let mechanism = Oid::of(MECHANISM);
        let (mut all, mut more) = (String::new(), 0);
        for _ in 0..MESSAGE_PARTS_MAX {
            let (mut minor, mut words) = (0, Buffer::EMPTY);
            // SAFETY: all pointers are to locals; the buffer that comes back is released below.
            let major = unsafe {
                (self.display_status)(
                    &raw mut minor,
                    status,
                    kind,
                    &mechanism,
                    &raw mut more,
                    &raw mut words,
                )
            };
            if major & ERRORS == 0 {
                all.push_str(&String::from_utf8_lossy(&self.taken(words)));
            }
            if major & ERRORS != 0 || more == 0 {
                break;
            }
            all.push_str("; ");
        }
        all.chars().take(MESSAGE_CHARS_MAX).collect()
    }

    /// The bytes of a buffer that the library made, which goes back to it.
    fn taken(&self, mut buffer: Buffer) -> Vec<u8> {
        let bytes = if buffer.value.is_null() {
            Vec::new()
        } else {
            // SAFETY: the library says that so many bytes are there, and they stay until the buffer is released below.
            unsafe { slice::from_raw_parts(buffer.value.cast::<u8>(), buffer.length) }.to_vec()
        };
        let mut minor = 0;
        // SAFETY: the buffer is the library's own, or empty, which it takes as well.
        unsafe { (self.release_buffer)(&raw mut minor, &raw mut buffer) };
        bytes
    }
}

impl fmt::Debug for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(LIBRARY)
    }
}

/// How a name is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NameKind {
    /// `name@REALM` or `service/host@REALM`: an account's own name.
    Principal,
    /// `somebody@suffix@REALM`: a user principal name, which the KDC of the realm looks up.
    Enterprise,
}

/// A name in the library's own form.
pub(crate) struct Name {
    library: &'static Library,
    handle: Handle,
}

// SAFETY: MIT's names are not changed once they are made, but for a cache inside that they lock.
unsafe impl Send for Name {}
// SAFETY: as above.
unsafe impl Sync for Name {}

impl Drop for Name {
    fn drop(&mut self) {
        let mut minor = 0;
        // SAFETY: the handle is ours, and nobody has it any more.
        unsafe { (self.library.release_name)(&raw mut minor, &raw mut self.handle) };
    }
}

/// Tickets of somebody: of the agent, or of a user that it speaks for. They are gone with it.
pub(crate) struct Credential {
    library: &'static Library,
    handle: Handle,
}

// SAFETY: MIT's credentials have a lock of their own, which each call takes.
unsafe impl Send for Credential {}
// SAFETY: as above.
unsafe impl Sync for Credential {}

impl Credential {
    /// How long its ticket lives yet. Of the agent's own, the first call gets that ticket from the KDC.
    pub(crate) fn life(&self) -> Result<Duration, Status> {
        let (mut minor, mut seconds) = (0, 0);
        // SAFETY: the handle is alive; what is not asked for is null, as the function allows.
        let major = unsafe {
            (self.library.inquire)(
                &raw mut minor,
                self.handle,
                ptr::null_mut(),
                &raw mut seconds,
                ptr::null_mut(),
                ptr::null_mut(),
            )
        };
        self.library.done(major, minor)?;
        Ok(Duration::from_secs(seconds.into()))
    }

    /// A ticket for the agent itself in the name of `user`, without the user's doing: S4U2Self. Asks the KDC.
    pub(crate) fn impersonate(&self, user: &Name) -> Result<Self, Status> {
        let mechanism = Oid::of(MECHANISM);
        let (mut minor, mut handle) = (0, ptr::null_mut());
        // SAFETY: both handles are alive; the set lives until the call returns; the new handle is ours to release.
        let major = unsafe {
            (self.library.impersonate)(
                &raw mut minor,
                self.handle,
                user.handle,
                INDEFINITE,
                &OidSet::of(&mechanism),
                INITIATE,
                &raw mut handle,
                ptr::null_mut(),
                ptr::null_mut(),
            )
        };
        self.library.done(major, minor)?;
        Ok(Self {
            library: self.library,
            handle,
        })
    }

    /// Begins a context with `target`. Asks the KDC for its ticket, S4U2Proxy, where this credential has none.
    pub(crate) fn begin(&self, target: &Name, bindings: Option<&[u8]>) -> Result<Begun, Status> {
        let mut context = Context {
            library: self.library,
            handle: ptr::null_mut(),
        };
        let step = context.step(self, target, bindings, None)?;
        Ok(Begun {
            context,
            token: step.token,
            life: step.life,
        })
    }
}

impl Drop for Credential {
    fn drop(&mut self) {
        let mut minor = 0;
        // SAFETY: the handle is ours, and nobody has it any more.
        unsafe { (self.library.release_credential)(&raw mut minor, &raw mut self.handle) };
    }
}

/// A context with what is to be sent for it.
pub(crate) struct Begun {
    pub(crate) context: Context,
    pub(crate) token: Vec<u8>,
    /// How long the ticket for the target lives yet.
    pub(crate) life: Duration,
}

/// A sign-on under way: waits for the application's proof.
pub(crate) struct Context {
    library: &'static Library,
    handle: Handle,
}

// SAFETY: a context is bound to no thread; it is not shared, for want of `Sync`.
unsafe impl Send for Context {}

struct Step {
    token: Vec<u8>,
    life: Duration,
    complete: bool,
}

impl Context {
    /// Whether `token`, the application's answer, proves that it has the target's key. Asks nobody.
    pub(crate) fn finish(
        &mut self,
        credential: &Credential,
        target: &Name,
        bindings: Option<&[u8]>,
        token: &[u8],
    ) -> Result<bool, Status> {
        let step = self.step(credential, target, bindings, Some(token))?;
        Ok(step.complete)
    }

    fn step(
        &mut self,
        credential: &Credential,
        target: &Name,
        bindings: Option<&[u8]>,
        input: Option<&[u8]>,
    ) -> Result<Step, Status> {
        let bindings = bindings.map(ChannelBindings::of);
        let input = input.map(Buffer::of);
        let (mut minor, mut seconds, mut output) = (0, 0, Buffer::EMPTY);
        // SAFETY: handles are alive, but for that of a new context, which is null as it shall be; buffers live until the call returns,
        // which only reads them; the output is released by `taken`.
        let major = unsafe {
            (self.library.init_context)(
                &raw mut minor,
                credential.handle,
                &raw mut self.handle,
                target.handle,
                &Oid::of(MECHANISM),
                MUTUAL,
                0,
                bindings.as_ref().map_or(ptr::null(), ptr::from_ref),
                input.as_ref().map_or(ptr::null(), ptr::from_ref),
                ptr::null_mut(),
                &raw mut output,
                ptr::null_mut(),
                &raw mut seconds,
            )
        };
        // The words of a failure first: releasing is a call as well.
        let done = self.library.done(major, minor);
        let token = self.library.taken(output);
        done?;
        Ok(Step {
            token,
            life: Duration::from_secs(seconds.into()),
            complete: major & CONTINUE_NEEDED == 0,
        })
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        let mut minor = 0;
        // SAFETY: the handle is ours, or null, which the function takes as well.
        unsafe {
            (self.library.delete_context)(&raw mut minor, &raw mut self.handle, ptr::null_mut());
        }
    }
}

/// What a call that failed said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Status {
    /// GSSAPI's own code.
    pub(crate) major: u32,
    /// The mechanism's.
    pub(crate) minor: i32,
    /// In words.
    pub(crate) text: String,
}

impl Status {
    fn of_ours(text: &str) -> Self {
        Self {
            major: ERRORS,
            minor: 0,
            text: text.to_owned(),
        }
    }
}

// Of each of these the library only reads, whatever its headers say of `const`.

impl Buffer {
    const EMPTY: Self = Self {
        length: 0,
        value: ptr::null_mut(),
    };

    fn of(bytes: &[u8]) -> Self {
        Self {
            length: bytes.len(),
            value: bytes.as_ptr().cast_mut().cast(),
        }
    }
}

impl Oid {
    fn of(bytes: &'static [u8]) -> Self {
        Self {
            length: u32::try_from(bytes.len()).expect("our identifiers are short"),
            elements: bytes.as_ptr().cast(),
        }
    }
}

impl OidSet {
    fn of(one: &Oid) -> Self {
        Self {
            count: 1,
            elements: one,
        }
    }
}

impl ChannelBindings {
    fn of(application: &[u8]) -> Self {
        Self {
            initiator_kind: 0,
            initiator: Buffer::EMPTY,
            acceptor_kind: 0,
            acceptor: Buffer::EMPTY,
            application: Buffer::of(application),
        }
    }
}

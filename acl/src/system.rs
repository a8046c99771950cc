//! What Windows is asked for: to make a file with a list, and whom the list of a file lets in. The only file of this crate with unsafe code.
//!
//! Each call is one of Microsoft's `windows-sys`, as its documentation has it; what a call gives is copied and freed here, and paths and lists
//! are text that ends with a NUL and outlives the call.

#![expect(
    unsafe_code,
    reason = "calls of Windows; nothing else of this crate does any"
)]

use std::{
    ffi::c_void,
    fs::File,
    io,
    os::windows::{ffi::OsStrExt as _, io::FromRawHandle as _},
    path::Path,
    ptr, slice,
};

use windows_sys::Win32::{
    Foundation::{
        CloseHandle, ERROR_SUCCESS, GENERIC_WRITE, HANDLE, INVALID_HANDLE_VALUE, LocalFree,
    },
    Security::{
        Authorization::{
            ConvertSecurityDescriptorToStringSecurityDescriptorW,
            ConvertStringSecurityDescriptorToSecurityDescriptorW, GetNamedSecurityInfoW,
            SDDL_REVISION_1, SE_FILE_OBJECT,
        },
        DACL_SECURITY_INFORMATION, GetTokenInformation, InitializeSecurityDescriptor,
        OBJECT_SECURITY_INFORMATION, OWNER_SECURITY_INFORMATION, PSECURITY_DESCRIPTOR,
        SECURITY_ATTRIBUTES, SECURITY_DESCRIPTOR, SetSecurityDescriptorOwner, TOKEN_QUERY,
        TOKEN_USER, TokenUser,
    },
    Storage::FileSystem::{CREATE_NEW, CreateDirectoryW, CreateFileW, FILE_ATTRIBUTE_NORMAL},
    System::{
        SystemServices::SECURITY_DESCRIPTOR_REVISION,
        Threading::{GetCurrentProcess, OpenProcessToken},
    },
};

use crate::descriptor::{Descriptor, PRIVATE_DIRECTORY, PRIVATE_FILE};

/// `TOKEN_USER` with the longest SID there is: 16 bytes, and 68 that they point at (`SECURITY_MAX_SID_SIZE`).
const TOKEN_USER_BYTES_MAX: usize = 128;

/// Makes a file that nobody else may use, to write; fails if there is one. Nobody else opens it while it is open here.
///
/// # Errors
/// What Windows says.
pub fn create_file(path: &Path) -> io::Result<File> {
    let list = List::of(PRIVATE_FILE)?;
    let path = wide(path)?;
    // SAFETY: the path ends with a NUL, the attributes point at a descriptor that Windows made, and both outlive the call.
    let handle = unsafe {
        CreateFileW(
            path.as_ptr(),
            GENERIC_WRITE,
            0,
            &list.attributes(),
            CREATE_NEW,
            FILE_ATTRIBUTE_NORMAL,
            ptr::null_mut(),
        )
    };
    if handle == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle was just opened, and nobody else has it.
    Ok(unsafe { File::from_raw_handle(handle) })
}

/// Makes a folder that nobody else may use, nor what is made in it; fails if there is one.
///
/// # Errors
/// What Windows says.
pub fn create_directory(path: &Path) -> io::Result<()> {
    let list = List::of(PRIVATE_DIRECTORY)?;
    let path = wide(path)?;
    // SAFETY: as of a file.
    done(unsafe { CreateDirectoryW(path.as_ptr(), &list.attributes()) })
}

/// Who may do anything with a file or folder, besides this process's account, the system and administrators: as SDDL names them, such as `BU`
/// for all users of the machine and `WD` for everyone.
///
/// # Errors
/// What Windows says, or it says what is not understood.
pub fn others(path: &Path) -> io::Result<Vec<String>> {
    let descriptor = Descriptor::read(&descriptor(path)?).map_err(io::Error::other)?;
    Ok(descriptor.others(&own_account()?))
}

/// A descriptor that Windows made and that is ours to free.
struct List(PSECURITY_DESCRIPTOR);

impl List {
    fn of(text: &str) -> io::Result<Self> {
        let text = wide(Path::new(text))?;
        let mut made = ptr::null_mut();
        // SAFETY: the text ends with a NUL, and the descriptor is written to a place of its type.
        done(unsafe {
            ConvertStringSecurityDescriptorToSecurityDescriptorW(
                text.as_ptr(),
                SDDL_REVISION_1,
                &raw mut made,
                ptr::null_mut(),
            )
        })?;
        Ok(Self(made))
    }

    /// For one call, which this must outlive.
    fn attributes(&self) -> SECURITY_ATTRIBUTES {
        SECURITY_ATTRIBUTES {
            nLength: small(size_of::<SECURITY_ATTRIBUTES>()),
            lpSecurityDescriptor: self.0,
            bInheritHandle: 0,
        }
    }
}

impl Drop for List {
    fn drop(&mut self) {
        // SAFETY: Windows made it by LocalAlloc, and it is freed once.
        unsafe { LocalFree(self.0) };
    }
}

fn descriptor(path: &Path) -> io::Result<String> {
    let path = wide(path)?;
    let wanted = OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION;
    let mut made = ptr::null_mut();
    // SAFETY: the path ends with a NUL; what is not wanted may be null; the descriptor is written to a place of its type.
    let code = unsafe {
        GetNamedSecurityInfoW(
            path.as_ptr(),
            SE_FILE_OBJECT,
            wanted,
            ptr::null_mut(),
            ptr::null_mut(),
            ptr::null_mut(),
            ptr::null_mut(),
            &raw mut made,
        )
    };
    if code != ERROR_SUCCESS {
        return Err(io::Error::from_raw_os_error(code as i32));
    }
    let list = List(made);
    // SAFETY: the descriptor is whole, as Windows made it.
    unsafe { text_of(list.0, wanted) }
}

/// The account of this process, as the text of a descriptor names it.
fn own_account() -> io::Result<String> {
    let mut token: HANDLE = ptr::null_mut();
    // SAFETY: the handle is written to a place of its type; that of the process needs no closing.
    done(unsafe { OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &raw mut token) })?;
    // Of words, so that it is aligned as a TOKEN_USER.
    let mut user = [0_usize; TOKEN_USER_BYTES_MAX / size_of::<usize>()];
    let mut length = 0;
    // SAFETY: there is room for the bytes that are said.
    let asked = done(unsafe {
        GetTokenInformation(
            token,
            TokenUser,
            user.as_mut_ptr().cast::<c_void>(),
            small(TOKEN_USER_BYTES_MAX),
            &raw mut length,
        )
    });
    // SAFETY: it was opened above, and is closed once.
    unsafe { CloseHandle(token) };
    asked?;
    let mut owned = SECURITY_DESCRIPTOR::default();
    let of_it: PSECURITY_DESCRIPTOR = (&raw mut owned).cast();
    // SAFETY: Windows wrote a TOKEN_USER there, whose SID lies in the same room; both it and the descriptor live until the text is made.
    let text = unsafe {
        let sid = (*user.as_ptr().cast::<TOKEN_USER>()).User.Sid;
        done(InitializeSecurityDescriptor(
            of_it,
            SECURITY_DESCRIPTOR_REVISION,
        ))?;
        done(SetSecurityDescriptorOwner(of_it, sid, 0))?;
        text_of(of_it, OWNER_SECURITY_INFORMATION)?
    };
    let account = text.strip_prefix("O:").map(str::to_owned);
    account.ok_or_else(|| io::Error::other("the account of this process has no name"))
}

/// # Safety
/// It is a descriptor.
unsafe fn text_of(
    descriptor: PSECURITY_DESCRIPTOR,
    wanted: OBJECT_SECURITY_INFORMATION,
) -> io::Result<String> {
    let (mut text, mut length) = (ptr::null_mut(), 0);
    // SAFETY: the caller says that it is one; text and length are written to places of their types.
    done(unsafe {
        ConvertSecurityDescriptorToStringSecurityDescriptorW(
            descriptor,
            SDDL_REVISION_1,
            wanted,
            &raw mut text,
            &raw mut length,
        )
    })?;
    // SAFETY: Windows wrote so many characters there, the last of them a NUL, by LocalAlloc; they are copied, then freed once.
    let copied = unsafe {
        let copied = String::from_utf16_lossy(slice::from_raw_parts(text, length as usize));
        LocalFree(text.cast::<c_void>());
        copied
    };
    Ok(copied.split('\0').next().unwrap_or_default().to_owned())
}

/// As Windows takes text. One with a NUL inside would be another one there.
fn wide(path: &Path) -> io::Result<Vec<u16>> {
    let mut units: Vec<u16> = path.as_os_str().encode_wide().collect();
    if units.contains(&0) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    units.push(0);
    Ok(units)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "sizes of some bytes, known when this is compiled"
)]
const fn small(bytes: usize) -> u32 {
    bytes as u32
}

fn done(success: i32) -> io::Result<()> {
    if success == 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

//! Memory pages: small ones, so that what is not used is not taken.

/// Keeps the kernel from giving the process pages of 2 MiB where 4 KiB were asked for.
///
/// The allocator has a heap for each thread and asks for huge pages; a process that does nothing took 26 MiB with them and
/// takes 3 without. Call it before threads start. What was given before stays.
///
/// # Errors
/// What the system says, as kernels without huge pages do.
#[cfg(target_os = "linux")]
pub fn refuse_huge_pages() -> std::io::Result<()> {
    Ok(nix::sys::prctl::set_thp_disable(true)?)
}

/// Other systems decide by themselves.
#[cfg(not(target_os = "linux"))]
pub fn refuse_huge_pages() -> std::io::Result<()> {
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_remembers_it() {
        refuse_huge_pages().expect("no privileges are needed");
        assert!(nix::sys::prctl::get_thp_disable().expect("it can be asked"));
    }
}

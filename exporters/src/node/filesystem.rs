//! Filesystems: the mounts of the machine's first process, and what `statvfs` says of each.

use std::collections::HashSet;

use exposition::family::MetricFamily;
use model::pattern::Search;

use crate::collector::{CollectError, Collector, Paths};

pub(super) struct Filesystem {
    pub(super) paths: Paths,
    pub(super) mount_points_exclude: Option<Search>,
    pub(super) fs_types_exclude: Option<Search>,
}

#[derive(Debug, PartialEq)]
struct Mount {
    device: String,
    mountpoint: String,
    fstype: String,
    read_only: bool,
    major: String,
    minor: String,
}

impl Collector for Filesystem {
    fn name(&self) -> &'static str {
        "filesystem"
    }

    fn collect(&self, families: &mut Vec<MetricFamily>) -> Result<(), CollectError> {
        let gauge = |name: &str, help: &str| MetricFamily::gauge(format!("node_filesystem_{name}"), help);
        let mut avail = gauge("avail_bytes", "Filesystem space available to non-root users in bytes.");
        let mut error =
            gauge("device_error", "Whether an error occurred while getting statistics for the given device.");
        let mut files = gauge("files", "Filesystem total file nodes.");
        let mut files_free = gauge("files_free", "Filesystem total free file nodes.");
        let mut free = gauge("free_bytes", "Filesystem free space in bytes.");
        let mut info = gauge("mount_info", "Filesystem mount information.");
        let mut read_only = gauge("readonly", "Filesystem read-only status.");
        let mut size = gauge("size_bytes", "Filesystem size in bytes.");
        for mount in self.mounts()? {
            let Mount { device, mountpoint, fstype, major, minor, .. } = &mount;
            let path = self.paths.rootfs.join(mountpoint.trim_start_matches('/'));
            let stat = rustix::fs::statvfs(&path);
            let failure = stat.as_ref().err().map(ToString::to_string).unwrap_or_default();
            let labels: [(&str, &str); 4] =
                [("device", device), ("mountpoint", mountpoint), ("fstype", fstype), ("device_error", &failure)];
            error.push(&labels, f64::from(u8::from(stat.is_err())));
            info.push(&[("device", device), ("major", major), ("minor", minor), ("mountpoint", mountpoint)], 1.0);
            let Ok(stat) = stat else { continue };
            let block = stat.f_frsize as f64;
            read_only.push(&labels, f64::from(u8::from(mount.read_only)));
            size.push(&labels, stat.f_blocks as f64 * block);
            free.push(&labels, stat.f_bfree as f64 * block);
            avail.push(&labels, stat.f_bavail as f64 * block);
            files.push(&labels, stat.f_files as f64);
            files_free.push(&labels, stat.f_ffree as f64);
        }
        families.extend([avail, error, files, files_free, free, info, read_only, size]);
        Ok(())
    }
}

impl Filesystem {
    /// Mounts that are not excluded, each device and mount point once (the last mount hides those before it).
    fn mounts(&self) -> Result<Vec<Mount>, CollectError> {
        // A process that may not look at the first one sees its own mounts.
        let file = self.paths.read_proc("1/mountinfo").or_else(|_| self.paths.read_proc("self/mountinfo"))?;
        let mut seen = HashSet::new();
        let mut mounts = Vec::new();
        for (line, text) in file.lines() {
            let mount = parse_mount(text, self.paths.rootfs.to_str().unwrap_or("/"))
                .ok_or_else(|| file.expected(line, "a mount with options, type and source"))?;
            let excluded = |pattern: &Option<Search>, text: &str| pattern.as_ref().is_some_and(|p| p.is_match(text));
            if excluded(&self.mount_points_exclude, &mount.mountpoint)
                || excluded(&self.fs_types_exclude, &mount.fstype)
            {
                continue;
            }
            if seen.insert((mount.device.clone(), mount.mountpoint.clone())) {
                mounts.push(mount);
            }
        }
        Ok(mounts)
    }
}

/// `36 35 98:0 /root /mount options [optional...] - type source super-options`, octal escapes undone.
fn parse_mount(line: &str, rootfs: &str) -> Option<Mount> {
    let (before, after) = line.split_once(" - ")?;
    let mut before = before.split(' ');
    let (major, minor) = before.nth(2)?.split_once(':')?;
    let mountpoint = unescape(before.nth(1)?);
    let options = before.next()?;
    let mut after = after.split(' ');
    let fstype = after.next()?.to_owned();
    let device = unescape(after.next()?);
    let super_options = after.next().unwrap_or("");
    let read_only = |options: &str| options.split(',').any(|option| option == "ro");
    // Seen from a container, the host's mounts are below the root given.
    let mountpoint = match mountpoint.strip_prefix(rootfs.trim_end_matches('/')) {
        Some("") => "/".to_owned(),
        Some(inner) if inner.starts_with('/') => inner.to_owned(),
        _ => mountpoint,
    };
    Some(Mount {
        device,
        mountpoint,
        fstype,
        read_only: read_only(options) || read_only(super_options),
        major: major.into(),
        minor: minor.into(),
    })
}

/// Spaces, tabs, newlines and backslashes stand as `\040` and the like.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_read_with_escapes_and_options() {
        let mount = parse_mount(r"36 35 98:1 / /mnt\040a rw,noatime master:1 - ext4 /dev/root ro,errors=continue", "/")
            .unwrap();
        assert_eq!((mount.mountpoint.as_str(), mount.read_only, mount.minor.as_str()), ("/mnt a", true, "1"));
        let inside = parse_mount("36 35 98:1 / /host/var rw - ext4 /dev/sda1 rw", "/host").unwrap();
        assert_eq!(inside.mountpoint, "/var");
        assert_eq!(parse_mount("36 35 98:1 / /x rw", "/"), None);
    }
}

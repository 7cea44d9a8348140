//! What the machine, and the control groups of this process, can still give.

use std::fs;
use std::path::Path;

/// Where one version of control groups keeps its figures.
struct Groups {
    root: &'static str,
    limit: &'static str,
    usage: &'static str,
    /// Fields of `memory.stat`: content of files, which is given up when memory runs short.
    reclaimable: [&'static str; 2],
}

const VERSION_1: Groups = Groups {
    root: "/sys/fs/cgroup/memory",
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    reclaimable: ["total_inactive_file", "total_active_file"],
};

const VERSION_2: Groups = Groups {
    root: "/sys/fs/cgroup",
    limit: "memory.max",
    usage: "memory.current",
    reclaimable: ["inactive_file", "active_file"],
};

/// Memory that can still be had without swapping, in bytes: the least of what the system and every control group
/// above this process leave. `None` where the system does not tell.
pub fn available_bytes() -> Option<u64> {
    let system = parse_available(&fs::read_to_string("/proc/meminfo").ok()?)?;
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let left = groups.lines().filter_map(|line| {
        let (groups, path) = group(line)?;
        groups.left(Path::new(groups.root), path)
    });
    Some(left.fold(system, u64::min))
}

/// Memory that there is, in bytes, taken or not: the least of what the system has and every control group above this
/// process allows. `None` where the system does not tell.
pub fn total_bytes() -> Option<u64> {
    let system = parse(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")?;
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let allowed = groups.lines().filter_map(|line| {
        let (groups, path) = group(line)?;
        groups.allowed(Path::new(groups.root), path)
    });
    Some(allowed.fold(system, u64::min))
}

fn parse_available(meminfo: &str) -> Option<u64> {
    parse(meminfo, "MemAvailable:")
}

/// A line of `/proc/meminfo`, in bytes.
fn parse(meminfo: &str, name: &str) -> Option<u64> {
    let rest = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
    rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The version and path of a line of `/proc/self/cgroup` that is about memory: `id:controllers:path`.
fn group(line: &str) -> Option<(&'static Groups, &str)> {
    let (_, rest) = line.split_once(':')?;
    let (controllers, path) = rest.split_once(':')?;
    match controllers {
        "" => Some((&VERSION_2, path)),
        _ => controllers.split(',').any(|name| name == "memory").then_some((&VERSION_1, path)),
    }
}

impl Groups {
    /// The least that the groups from the root down to `path` leave. A container may see its own group as the root
    /// and no other, so groups that are not there are passed over.
    fn left(&self, root: &Path, path: &str) -> Option<u64> {
        let relative = Path::new(path.trim_start_matches('/'));
        relative.ancestors().filter_map(|group| self.left_in(&root.join(group))).min()
    }

    /// The least that the groups from the root down to `path` may have, whatever is used.
    fn allowed(&self, root: &Path, path: &str) -> Option<u64> {
        let relative = Path::new(path.trim_start_matches('/'));
        let limit = |group: &Path| {
            fs::read_to_string(root.join(group).join(self.limit)).ok()?.trim().parse::<u64>().ok()
        };
        relative.ancestors().filter_map(limit).min()
    }

    fn left_in(&self, group: &Path) -> Option<u64> {
        let number = |name| fs::read_to_string(group.join(name)).ok()?.trim().parse::<u64>().ok();
        // Without a limit the file says "max", or a number that is larger than any machine.
        let (limit, usage) = (number(self.limit)?, number(self.usage)?);
        let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
        let reclaimable = stat.lines().filter_map(|line| {
            let (name, value) = line.split_once(' ')?;
            self.reclaimable.contains(&name).then(|| value.parse::<u64>().ok())?
        });
        Some(limit.saturating_sub(usage.saturating_sub(reclaimable.sum())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_memory_of_the_system() {
        assert_eq!(parse_available("MemTotal: 9 kB\nMemAvailable:    2048 kB\n"), Some(2 << 20));
        assert_eq!(parse_available("MemTotal: 9 kB\n"), None);
        assert_eq!(parse("MemTotal: 9 kB\n", "MemTotal:"), Some(9 << 10));
        assert!(available_bytes().is_none_or(|bytes| bytes > 0));
        assert!(total_bytes().is_none_or(|bytes| Some(bytes) >= available_bytes()));
    }

    #[test]
    fn lines_about_memory() {
        let check = |line, expect: Option<(&str, &str)>| {
            assert_eq!(group(line).map(|(groups, path)| (groups.limit, path)), expect, "{line}");
        };
        check("0::/user.slice/a", Some(("memory.max", "/user.slice/a")));
        check("4:memory:/x:y", Some(("memory.limit_in_bytes", "/x:y")));
        check("4:cpu,memory:/", Some(("memory.limit_in_bytes", "/")));
        check("8:pids:/x", None);
        check("", None);
    }

    #[test]
    fn the_tightest_group_counts_and_missing_ones_do_not() {
        let root = tempfile::tempdir().expect("a directory");
        let write = |group: &str, limit: &str, usage: &str, stat: &str| {
            let dir = root.path().join(group);
            fs::create_dir_all(&dir).expect("a group");
            for (name, text) in [("memory.max", limit), ("memory.current", usage), ("memory.stat", stat)] {
                fs::write(dir.join(name), text).expect("a file");
            }
        };
        let left = |path| VERSION_2.left(root.path(), path);
        assert_eq!(left("/a/b"), None);
        write("a", "1000\n", "700\n", "anon 500\ninactive_file 150\nactive_file 50\nslab 9\n");
        assert_eq!(left("/a/b"), Some(500));
        assert_eq!(VERSION_2.allowed(root.path(), "/a/b"), Some(1000));
        write("a/b", "max\n", "600\n", "");
        assert_eq!(left("/a/b"), Some(500));
        write("a/b", "650\n", "600\n", "inactive_file 10\n");
        assert_eq!(left("/a/b"), Some(60));
        assert_eq!(left("/not/seen/from/here"), None);
        write("", "40\n", "90\n", "");
        assert_eq!(left("/not/seen/from/here"), Some(0));
    }
}

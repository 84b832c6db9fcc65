//! The memory that the machine, its control group and `ulimit -v` allow.

use std::fs;

/// The fallback in bytes if the limit is unknown.
const UNKNOWN: u64 = 2 << 30;

/// The memory limit of this process in bytes, as reported by the kernel.
pub fn available() -> u64 {
    // not from /proc/meminfo, which systemd's ProcSubset=pid hides
    let info = rustix::system::sysinfo();
    let machine = (info.totalram as u64).saturating_mul(info.mem_unit.into());
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = groups.lines().flat_map(files).filter_map(|path| {
        let text = fs::read_to_string(path).ok()?;
        text.trim().parse::<u64>().ok()
    });
    let own = rustix::process::getrlimit(rustix::process::Resource::As).current;
    limits
        .chain([machine])
        .chain(own)
        .filter(|&bytes| bytes > 0)
        .min()
        .unwrap_or(UNKNOWN)
}

/// The limit files of a control group and its ancestors, given a line of /proc/self/cgroup.
fn files(line: &str) -> Vec<String> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
        return Vec::new();
    };
    let (root, name) = match controllers {
        "" => ("/sys/fs/cgroup", "memory.max"),
        other if other.split(',').any(|one| one == "memory") => {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        }
        _ => return Vec::new(),
    };
    let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
    let groups = ends.filter_map(|end| path.get(..end));
    groups.map(|group| format!("{root}{group}/{name}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_all_ancestor_groups_are_considered() {
        let group = "0::/system.slice/iipsrv.service";
        let found = files(group);
        assert!(found.contains(&"/sys/fs/cgroup/system.slice/iipsrv.service/memory.max".into()));
        assert!(found.contains(&"/sys/fs/cgroup/memory.max".into()));
        let old = "9:memory:/a";
        assert!(files(old).contains(&"/sys/fs/cgroup/memory/a/memory.limit_in_bytes".into()));
        assert!(files("1:cpu:/a").is_empty() && files("x").is_empty());
    }

    #[test]
    fn the_limit_is_at_most_the_memory_of_the_machine() {
        let text = fs::read_to_string("/proc/meminfo").unwrap();
        let total = text
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:"))
            .unwrap();
        let kilobytes: u64 = total.trim().strip_suffix("kB").unwrap().trim().parse().unwrap();
        assert!((1 << 20..=kilobytes << 10).contains(&available()));
    }
}

//! How much memory the machine has, or its control group or `ulimit -v` allows.

use std::fs;

/// What is taken when nothing can be found out, bytes.
const UNKNOWN: u64 = 2 << 30;

/// Bytes that this process may take, as far as the kernel says.
pub fn available() -> u64 {
    // not /proc/meminfo, which systemd's ProcSubset=pid hides
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

/// Where the limits of a control group and of those above it stand, given a line of /proc/self/cgroup.
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
    fn limits_are_looked_for_in_every_group_above() {
        let group = "0::/system.slice/iipsrv.service";
        let found = files(group);
        assert!(found.contains(&"/sys/fs/cgroup/system.slice/iipsrv.service/memory.max".into()));
        assert!(found.contains(&"/sys/fs/cgroup/memory.max".into()));
        let old = "9:memory:/a";
        assert!(files(old).contains(&"/sys/fs/cgroup/memory/a/memory.limit_in_bytes".into()));
        assert!(files("1:cpu:/a").is_empty() && files("x").is_empty());
    }

    #[test]
    fn there_is_no_more_than_the_machine_has() {
        let text = fs::read_to_string("/proc/meminfo").unwrap();
        let total = text
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:"))
            .unwrap();
        let kilobytes: u64 = total.trim().strip_suffix("kB").unwrap().trim().parse().unwrap();
        assert!((1 << 20..=kilobytes << 10).contains(&available()));
    }
}

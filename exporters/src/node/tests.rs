//! The exporter against files of a machine that does not change, and against this one.

use super::*;
use exposition::print;

fn page(exporter: &NodeExporter) -> String {
    let mut out = String::new();
    print::text(&exporter.collect(), &mut out);
    out
}

/// Lays a small machine out and gives its page.
fn fixture() -> String {
    let root = tempfile::tempdir().unwrap();
    let write = |file: &str, text: &str| {
        let path = root.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write(
        "proc/stat",
        "cpu  10 0 0 0\ncpu0 100 200 300 400 500 600 700 800 900 1000\nintr 12 0\nctxt 5\nbtime 1600000000\nprocesses 7\nprocs_running 2\nprocs_blocked 1\n",
    );
    write("proc/loadavg", "0.21 0.37 0.39 1/719 19737\n");
    write("proc/meminfo", "MemTotal:  3 kB\nActive(anon):  2 kB\nHugePages_Total:  4\n");
    write("proc/vmstat", "pgfault 9\nnr_free_pages 1\n");
    write(
        "proc/diskstats",
        "   8       0 sda 1 2 4 3000 5 6 8 7000 9 10000 11000\n   8       1 sda1 1 1 1 1 1 1 1 1 1 1 1\n",
    );
    write("proc/net/dev", "Inter-| Receive\n face |bytes\n  lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n");
    write("proc/net/sockstat", "sockets: used 9\nTCP: inuse 4 mem 1\n");
    write("proc/pressure/cpu", "some avg10=0.00 avg60=0.00 avg300=0.00 total=2500000\n");
    write("proc/sys/fs/file-nr", "1024\t0\t99\n");
    write("proc/1/mountinfo", "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:5 / /proc rw - proc proc rw\n");
    write("etc/os-release", "ID=debian\nVERSION_ID=\"12.5\"\nNAME='Debian GNU/Linux'\n");
    let paths = Paths { procfs: root.path().join("proc"), sysfs: root.path().join("sys"), rootfs: root.path().into() };
    page(&NodeExporter::new(&Config { paths, ..Config::default() }).unwrap())
}

#[test]
fn a_machine_of_known_files_gives_known_metrics() {
    let page = fixture();
    for line in [
        "node_cpu_seconds_total{cpu=\"0\",mode=\"idle\"} 4",
        "node_cpu_guest_seconds_total{cpu=\"0\",mode=\"nice\"} 10",
        "node_intr_total 12",
        "node_boot_time_seconds 1.6e+09",
        "node_load15 0.39",
        "node_memory_MemTotal_bytes 3072",
        "node_memory_Active_anon_bytes 2048",
        "node_memory_HugePages_Total 4",
        "# TYPE node_vmstat_pgfault untyped",
        "node_disk_read_bytes_total{device=\"sda\"} 2048",
        "node_disk_write_time_seconds_total{device=\"sda\"} 7",
        "node_disk_io_time_weighted_seconds_total{device=\"sda\"} 11",
        "node_network_transmit_compressed_total{device=\"lo\"} 16",
        "node_sockstat_sockets_used 9",
        "node_sockstat_TCP_mem_bytes 4096",
        "node_pressure_cpu_waiting_seconds_total 2.5",
        "node_filefd_maximum 99",
        "node_os_version{id=\"debian\",name=\"Debian GNU/Linux\"} 12.5",
        "node_scrape_collector_success{collector=\"conntrack\"} 0",
        "node_scrape_collector_success{collector=\"netdev\"} 1",
    ] {
        assert!(page.lines().any(|l| l == line), "{line} is missing in\n{page}");
    }
    assert!(page.contains("node_filesystem_size_bytes{device=\"/dev/sda1\",fstype=\"ext4\",mountpoint=\"/\"}"));
    assert!(
        !page.contains("sda1\"} 1\nnode_disk") && !page.contains("nr_free_pages") && !page.contains("fstype=\"proc\"")
    );
}

#[test]
fn this_machine_gives_a_page() {
    let exporter = NodeExporter::new(&Config::default()).unwrap();
    assert!(page(&exporter).contains("node_memory_MemTotal_bytes"));
    let only = exporter.filtered(&["loadavg".into()], &[]).unwrap();
    let page = page(&only);
    assert!(page.contains("node_load1 ") && !page.contains("node_memory"));
    assert!(exporter.filtered(&["nonsense".into()], &[]).is_err());
}

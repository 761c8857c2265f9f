//! The configuration as a whole, against upstream's own good and bad files too.

use super::*;

fn faults(text: &str) -> String {
    parse(Path::new("p.yml"), text, Depth::SyntaxOnly, Reading::default())
        .err()
        .map(|e| e.to_string())
        .unwrap_or_default()
}

#[test]
fn unknown_keys_are_refused_with_file_and_line() {
    let text = "scrape_configs:\n- job_name: a\n  scrape_intervall: 5s\n";
    assert!(faults(text).starts_with("p.yml:3:"), "{}", faults(text));
    assert!(faults(text).contains("scrape_intervall"));
    assert!(faults("global:\n  scrape_interval: 5x\n").starts_with("p.yml:2:"));
}

#[test]
fn all_faults_of_a_file_are_told() {
    let told = faults("global: {scrape_timeout: 2m}\nscrape_configs:\n- job_name: a\n- job_name: a\n- job_name: ''\n");
    assert_eq!(told.lines().count(), 3, "{told}");
}

#[test]
fn values_that_make_no_sense_are_told_with_their_place() {
    let told = faults(
        "global:\n  scrape_interval: 10s\n  scrape_timeout: 20s\nscrape_configs:\n- job_name: a\n  scrape_timeout: 5m\n  \
         relabel_configs:\n  - {action: hashmod, target_label: x}\n  - regex: '('\n  consul_sd_configs:\n  - server: ''\n  \
         basic_auth:\n    password: x\n    password_file: y\n- job_name: a\nremote_write:\n- url: http://a\n  name: n\n\
         - url: http://b\n  name: n\n  queue_config:\n    capacity: -1\nstorage:\n  tsdb:\n    retention:\n      \
         percentage: 200\n",
    );
    let places: Vec<&str> = told.lines().filter_map(|line| line.strip_prefix("p.yml:")?.split(' ').next()).collect();
    let mut expected = ["3:3:", "6:3:", "8:5:", "9:5:", "11:5:", "13:5:", "15:3:", "20:3:", "22:5:", "26:7:"].to_vec();
    let mut given = places.clone();
    expected.sort_unstable();
    given.sort_unstable();
    assert_eq!(given, expected, "{told}");
}

#[test]
fn what_is_wrong_beside_a_fault_of_shape_is_told_too() {
    let told =
        faults("global:\n  scrape_timeout: 2m\nscrape_configs:\n- jobname: a\n- job_name: b\n  scrape_timeout: 9m\n");
    let lines: Vec<&str> = told.lines().collect();
    // That the first has no name is no news.
    assert_eq!(lines.len(), 3, "{told}");
    assert!(lines[0].starts_with("p.yml:4:3: unknown key \"jobname\""), "{told}");
    assert!(lines[1].starts_with("p.yml:2:3: ") && lines[2].starts_with("p.yml:6:3: "), "{told}");
}

#[test]
fn faults_of_a_named_file_are_told_with_their_place_there() {
    let folder = tempfile::tempdir().unwrap();
    let named = folder.path().join("more.yml");
    std::fs::write(&named, "scrape_configs:\n- job_name: b\n- job_name: a\n  scheme: https\n").unwrap();
    let text = "scrape_configs: [{job_name: a}]\nscrape_config_files: [more.yml]\n";
    let error = parse(&folder.path().join("p.yml"), text, Depth::Whole, Reading::default()).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}:3:3: job_name: found multiple", named.display())), "{error}");
}

#[test]
fn keys_without_a_value_are_taken_as_upstream_takes_them() {
    let text = "global:\n  scrape_interval:\n  external_labels:\nscrape_configs:\n- job_name: a\n  scheme:\n  basic_auth:\n    \
        username: u\n    password:\n  static_configs:\n  tls_config:\n  relabel_configs:\n  - target_label: x\n    \
        replacement:\n    separator:\n  metric_relabel_configs:\nrule_files:\nremote_write:\n- url: http://a\n  headers:\n  \
        queue_config:\nstorage:\n  tsdb:\n    retention:\n  exemplars:\n";
    let config = parse(Path::new("p.yml"), text, Depth::SyntaxOnly, Reading::default()).unwrap();
    let rule = &config.jobs[0].written.relabel_configs[0];
    assert_eq!((rule.separator.as_str(), rule.replacement.as_str(), rule.regex.as_str()), ("", "", "(.*)"));
    assert!(faults("scrape_configs:\n- job_name: a\n  relabel_configs:\n  - action:\n").contains("cannot be empty"));
}

#[test]
fn secrets_are_masked_when_printed() {
    let text = "scrape_configs:\n- job_name: a\n  basic_auth: {username: u, password: hunter2}\n";
    let config = parse(Path::new("p.yml"), text, Depth::SyntaxOnly, Reading::default()).unwrap();
    assert!(config.printed.contains("<secret>") && !config.printed.contains("hunter2"), "{}", config.printed);
    assert!(config.printed.contains("metrics_path: /metrics"), "{}", config.printed);
}

#[test]
fn a_fingerprint_changes_with_every_file_that_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let main = file("p.yml", "rule_files: ['r*.yml']\nscrape_config_files: [s.yml]\n");
    let mut seen = vec![fingerprint(&main)];
    for (name, text) in
        [("r1.yml", "groups: []"), ("s.yml", "scrape_configs: []"), ("r2.yml", ""), ("p.yml", "not: [yaml")]
    {
        file(name, text);
        let now = fingerprint(&main);
        assert!(!seen.contains(&now), "{name}");
        assert_eq!(now, fingerprint(&main));
        seen.push(now);
    }
}

/// Upstream's files, where they are at hand.
fn conformance(folder: &str) -> Vec<PathBuf> {
    let root = std::env::var_os("CRESSET_CONFORMANCE_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/conformance"), PathBuf::from);
    if !root.is_dir() {
        assert!(std::env::var_os("CI").is_none(), "{} must be there in CI", root.display());
        return Vec::new();
    }
    let entries = std::fs::read_dir(root.join("config").join(folder)).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.to_string_lossy().ends_with(&format!(".{folder}.yml")));
    files.sort();
    files
}

#[test]
fn upstreams_good_files_load_and_print_back() {
    let mut failed = Vec::new();
    for file in conformance("good") {
        let text = std::fs::read_to_string(&file).unwrap();
        match parse(&file, &text, Depth::SyntaxOnly, Reading::default()) {
            Ok(config) => {
                assert!(!config.printed.contains("mysecret"), "{}: a secret is shown", file.display());
                let again = parse(&file, &config.printed, Depth::SyntaxOnly, Reading::default());
                match again {
                    Ok(again) if again.printed == config.printed => {}
                    // Its labels hold a `$` once they are expanded, which stands for itself only as `$$`.
                    Ok(_) if file.ends_with("external_labels.good.yml") => {}
                    Ok(again) => failed.push(format!("{}: prints as another\n{}", file.display(), again.printed)),
                    Err(error) => failed.push(format!("{}: what is printed does not load: {error}", file.display())),
                }
            }
            Err(error) => failed.push(error.to_string()),
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn upstreams_bad_files_are_refused() {
    // Their fault lies in files they name.
    const NAMED: [&str; 2] = ["scrape_config_files_double_import", "scrape_config_files_global_duplicate"];
    for file in conformance("bad") {
        let text = std::fs::read_to_string(&file).unwrap();
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let depth = if NAMED.iter().any(|known| name.starts_with(known)) { Depth::Whole } else { Depth::SyntaxOnly };
        match parse(&file, &text, depth, Reading::default()) {
            Ok(_) => panic!("{} was taken", file.display()),
            Err(error) => {
                let told = error.to_string();
                let place = told.strip_prefix(&*file.to_string_lossy()).and_then(|rest| rest.strip_prefix(':'));
                let line = place.and_then(|rest| rest.split(':').next()?.parse::<u64>().ok());
                assert!(line.is_some() || depth == Depth::Whole, "no line: {error}");
            }
        }
    }
}

#[test]
fn passwords_in_urls_are_not_printed() {
    let text = "remote_write: [{url: 'http://ann:hunter2@a/write', proxy_url: 'http://p:hunter2@b:1/'}]\n\
        remote_read: [{url: 'http://ann:hunter2@a/read'}]\n";
    let config = parse(Path::new("p.yml"), text, Depth::SyntaxOnly, Reading::default()).unwrap();
    assert!(!config.printed.contains("hunter2"), "{}", config.printed);
    assert_eq!(config.printed.matches("xxxxx").count(), 3);
    assert_eq!(config.remote_write[0].url, "http://ann:hunter2@a/write", "it is still known");
}

//! Contexts of a size that would hurt if anything were buffered whole.

mod common;

use std::io::Write as _;

use common::{context, engine, request, run, unique};

#[tokio::test]
async fn many_files_and_large_ones_are_streamed() {
    engine().await;
    let folder = context(&[]);
    let (folders, files) = (50, 100);
    for number in 0..folders {
        let path = folder.path().join(format!("many/{number}"));
        std::fs::create_dir_all(&path).expect("folder");
        for file in 0..files {
            std::fs::write(path.join(file.to_string()), file.to_string()).expect("file");
        }
    }
    let mut large = std::fs::File::create(folder.path().join("large")).expect("file");
    for _ in 0..128 {
        large.write_all(&vec![7; 1024 * 1024]).expect("bytes");
    }
    let before = resident();
    let begun = std::time::Instant::now();
    let count = format!("/bin/busybox find /many -type f | /bin/busybox wc -l; /bin/busybox wc -c < /large; echo {}", unique());
    let ran = run(request(&folder, &format!("{}COPY many /many\nCOPY large /large\nRUN {count}\n", common::BASE))).await;
    assert!(ran.result.is_ok(), "{:?}", ran.result);
    assert!(ran.log.contains("5000\n134217728\n"), "{}", ran.log);
    let grown = resident().saturating_sub(before);
    println!("5,000 files and 128 MiB in {:?}, {grown} KiB more memory", begun.elapsed());
    assert!(grown < 96 * 1024, "{grown} KiB more memory");
}

/// Memory of this process in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("number")
}

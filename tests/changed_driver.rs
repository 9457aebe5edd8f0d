// SPDX-License-Identifier: MIT OR Apache-2.0

//! A failed run is done again with a changed driver: fixed, not fixed, another violation, or not to be said.

use std::fs;
use std::path::Path;
use std::process::Output;

use landfall_tests::{Result, landfall, prepared};

/// A driver of the ring card: one job, and its bytes compared.
const SOURCE: &str = r#"// SPDX-License-Identifier: GPL-2.0
#include <linux/dma-mapping.h>
#include <linux/iopoll.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/slab.h>

#define BYTES 2048
#define COUNT 8
#define OVER BIT(30)

static unsigned int tail = 1;
module_param(tail, uint, 0444);

struct descriptor {
	__le64 address;
	__le32 bytes;
	__le32 word;
	__le64 unused[2];
};

static int one(struct pci_dev *pdev)
{
	void __iomem *bar = pcim_iomap_region(pdev, 0, KBUILD_MODNAME);
	struct descriptor *ring;
	dma_addr_t at, buffer_at;
	u32 word, state;
	void *buffer;
	int error;

	if (IS_ERR(bar))
		return PTR_ERR(bar);
	ring = dmam_alloc_coherent(&pdev->dev, COUNT * sizeof(*ring), &at, GFP_KERNEL);
	buffer = devm_kzalloc(&pdev->dev, 4 * BYTES, GFP_KERNEL);
	if (!ring || !buffer)
		return -ENOMEM;
	writel(lower_32_bits(at), bar + 0x100);
	writel(upper_32_bits(at), bar + 0x104);
	writel(2 << 24 | COUNT, bar + 0x108);
	writel(1, bar + 0x10c);

	buffer_at = dma_map_single(&pdev->dev, buffer, BYTES, DMA_FROM_DEVICE);
	if (dma_mapping_error(&pdev->dev, buffer_at))
		return -EIO;
	ring[0].address = cpu_to_le64(buffer_at);
	ring[0].bytes = cpu_to_le32(BYTES);
	ring[0].word = 0;
	dma_wmb();
	BEFORE
	writel(tail, bar + 0x114);
	error = read_poll_timeout(READ_ONCE, word, le32_to_cpu((__force __le32)word) & OVER, 100, 1000000, false,
				  ring[0].word);
	AFTER
	writel(0, bar + 0x10c);
	return error ?: read_poll_timeout(readl, state, !(state & 1), 100, 1000000, false, bar + 0x110);
}

static int changed_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	int error = pcim_enable_device(pdev) ?: dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(64));

	if (error)
		return error;
	pci_set_master(pdev);
	return one(pdev);
}

static const struct pci_device_id changed_ids[] = { { PCI_DEVICE(0x1b36, 0x4c52) }, {} };
MODULE_DEVICE_TABLE(pci, changed_ids);

static struct pci_driver changed_driver = {
	.name = KBUILD_MODNAME,
	.id_table = changed_ids,
	.probe = changed_probe,
};
module_pci_driver(changed_driver);

MODULE_DESCRIPTION("A driver that is changed");
MODULE_LICENSE("GPL");
"#;

const UNMAP: &str = "dma_unmap_single(&pdev->dev, buffer_at, BYTES, DMA_FROM_DEVICE);";

/// The driver in a directory of that name, with what it does before and after the card's work.
fn driver(parent: &Path, name: &str, before: &str, after: &str) -> Result {
    let directory = parent.join(name);
    fs::create_dir_all(&directory)?;
    fs::write(directory.join("Kbuild"), "obj-m := changed.o\n")?;
    let source = SOURCE.replace("BEFORE", before).replace("AFTER", after);
    Ok(fs::write(directory.join("changed.c"), source)?)
}

fn run(directory: &Path, words: &[&str]) -> Result<Output> {
    prepared();
    let mut command = landfall();
    command.current_dir(directory).env("TMPDIR", directory);
    Ok(command.args(words).output()?)
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The driver that unmaps too early is mended, left as it was, given another bug, and given one that never works.
#[test]
fn a_changed_driver_is_fixed_not_fixed_wrong_otherwise_or_not_judged() -> Result {
    let temporary = tempfile::tempdir()?;
    let at = temporary.path();
    driver(at, "early", UNMAP, "")?;
    let words = ["exec", "--card", "ring", "--driver", "./early tail=1"];
    let legs = ["--legs", "iommu", "--bundle", "b"];

    let failed = run(at, &[&words[..], &legs].concat())?;

    assert_eq!(code(&failed), Some(1), "{failed:?}");
    let bundle = "b-exec-iommu-ring";
    assert!(at.join(bundle).is_dir(), "{failed:?}");
    let with = |name: &str| {
        let words = ["try", bundle, "--driver", name, "--json", "j"];
        run(
            at,
            &[&words[..], &["--bundle", name, "--legs", "plain"]].concat(),
        )
    };
    let outcome = || -> Result<serde_json::Value> {
        let json: serde_json::Value = serde_json::from_slice(&fs::read(at.join("j"))?)?;
        Ok(json["outcome"].clone())
    };

    let same = with("./early")?;
    assert_eq!(code(&same), Some(1), "{same:?}");
    let said = text(&same);
    assert!(
        said.contains("\nnot fixed: ./early tail=1 on iommu, plain\n"),
        "{said}"
    );
    assert_eq!(outcome()?, "not-fixed");
    assert!(at.join("early-exec-iommu-ring").is_dir(), "{said}");

    // The same directory, mended: it is built anew.
    driver(at, "early", "", UNMAP)?;
    let mended = with("./early")?;
    assert_eq!(code(&mended), Some(0), "{mended:?}");
    let said = text(&mended);
    assert!(
        said.contains("\nfixed: ./early tail=1 on iommu, plain (once"),
        "{said}"
    );
    assert!(said.contains("now it is:    nothing wrong\n"), "{said}");
    assert_eq!(outcome()?, "fixed");

    let longer = "ring[0].bytes = cpu_to_le32(3 * BYTES);";
    driver(at, "longer", longer, UNMAP)?;
    let other = with("./longer")?;
    assert_eq!(code(&other), Some(7), "{other:?}");
    let said = text(&other);
    assert!(said.contains("\nanother violation: ./longer"), "{said}");
    assert_eq!(outcome()?, "another");

    // One that never rings: the card does nothing, and nothing is said to be mended.
    driver(at, "silent", "", UNMAP)?;
    let silent = with("./silent tail=0")?;
    assert_eq!(code(&silent), Some(6), "{silent:?}");
    assert!(
        text(&silent).contains("\nnot judged: ./silent tail=0"),
        "{silent:?}"
    );
    Ok(())
}

/// What a bundle does not have is said, before any guest.
#[test]
fn a_bundle_of_our_own_driver_says_that_there_is_none_to_change() -> Result {
    let temporary = tempfile::tempdir()?;
    let at = temporary.path();
    let small = ["--width", "64", "--height", "32", "--frames", "2"];
    let ran = run(
        at,
        &[&["run", "--fault", "short", "--bundle", "b"][..], &small].concat(),
    )?;
    assert_eq!(code(&ran), Some(1), "{ran:?}");

    let tried = run(at, &["try", "b", "--driver", "./nowhere"])?;

    assert_eq!(code(&tried), Some(2), "{tried:?}");
    let said = String::from_utf8_lossy(&tried.stderr);
    assert!(said.contains("no driver of somebody's own"), "{said}");
    Ok(())
}

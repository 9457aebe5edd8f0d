// SPDX-License-Identifier: MIT OR Apache-2.0

use super::*;

fn good() -> Identity {
    Identity {
        vendor: 0x1b36,
        device: 1,
        bars: vec![
            Bar::registers(0, 0x4000).wide(),
            Bar::registers(3, 16),
            Bar::registers(4, MOST_BAR_BYTES).wide().prefetchable(),
        ],
        ..Identity::default()
    }
}

fn with(change: impl FnOnce(&mut Identity)) -> Result<(), IdentityError> {
    let mut identity = good();
    change(&mut identity);
    identity.check()
}

fn bar(bar: Bar) -> Result<(), BarError> {
    let index = bar.index;
    match with(|identity| identity.bars.push(bar)) {
        Err(IdentityError::Bar { index: of, why }) if of == index => Err(why),
        Err(other) => panic!("{other}"),
        Ok(()) => Ok(()),
    }
}

fn msix(msix: Msix) -> Result<(), MsixError> {
    match with(|identity| identity.msix = Some(msix)) {
        Err(IdentityError::Msix { why }) => Err(why),
        Err(other) => panic!("{other}"),
        Ok(()) => Ok(()),
    }
}

fn capability(capability: Capability) -> Result<(), CapabilityError> {
    match with(|identity| identity.capabilities.push(capability)) {
        Err(IdentityError::Capability { why, .. }) => Err(why),
        Err(other) => panic!("{other}"),
        Ok(()) => Ok(()),
    }
}

#[test]
fn what_can_be_had_is_not_refused() {
    assert_eq!(with(|_| {}), Ok(()));
    for vectors in 0..=MOST_MSI {
        assert_eq!(with(|identity| identity.msi = vectors), Ok(()));
    }
    let place = |bar, offset| Place { bar, offset };
    for vectors in [1, 64, 65, MOST_MSIX] {
        assert_eq!(msix(Msix::new(vectors)), Ok(()));
        let apart = Msix::new(vectors).at(place(4, 0x8_0000), place(0, 0x100));
        assert_eq!(msix(apart), Ok(()));
    }
}

#[test]
fn what_cannot_be_had_is_refused_and_says_why() {
    assert_eq!(
        Identity::default().check().map_err(|why| why.to_string()),
        Err("vendor 0xffff with device 0xffff means that no function is there".to_owned())
    );
    assert!(with(|identity| identity.class = 1 << 24).is_err());
    assert!(with(|identity| identity.msi = 33).is_err());
    let said = with(|identity| identity.bars[1].size = 24).map_err(|why| why.to_string());
    assert_eq!(said, Err("BAR 3: 24 bytes are no power of two".to_owned()));
}

#[test]
fn bars_are_refused_that_no_register_can_say() {
    let free = Bar::registers(2, 16);
    assert_eq!(bar(free.clone()), Ok(()));
    assert_eq!(bar(Bar::registers(6, 16)), Err(BarError::NoSuchBar));
    assert_eq!(
        bar(Bar::registers(255, 16).wide()),
        Err(BarError::NoUpperHalf)
    );
    assert_eq!(bar(Bar::registers(1, 16)), Err(BarError::Taken));
    assert_eq!(bar(free.wide()), Err(BarError::Taken));
    for size in [0, 17, 3 << 20, u64::MAX] {
        let wrong = BarError::NoPowerOfTwo { size };
        assert_eq!(bar(Bar::registers(2, size)), Err(wrong));
    }
    for size in [8, 1 << 31, 1 << 63] {
        assert_eq!(bar(Bar::registers(2, size)), Err(BarError::Size { size }));
    }
    let memory = Backing::new(64).expect("made");
    assert_eq!(bar(Bar::memory(2, &memory)), Ok(()));
    let mapped = Bar::memory(2, &memory).mapped();
    assert_eq!(bar(mapped), Err(BarError::NoPage { size: 64 }));
    let short = Bar {
        size: 128,
        ..Bar::memory(2, &memory)
    };
    assert_eq!(bar(short), Err(BarError::Backing { length: 64 }));
}

#[test]
fn a_table_is_refused_where_it_cannot_be() {
    let place = |bar, offset| Place { bar, offset };
    let (table, pending) = (place(0, 0x2000), place(0, 0x3000));
    assert_eq!(msix(Msix::new(64).at(table, pending)), Ok(()));
    for vectors in [0, 2049] {
        let wrong = MsixError::Vectors { vectors };
        assert_eq!(msix(Msix::new(vectors)), Err(wrong));
    }
    let at = |table, pending| msix(Msix::new(64).at(table, pending)).map_err(|why| why.to_string());
    let said = |text: &str| Err(text.to_owned());
    assert_eq!(
        at(place(0, 0x2004), pending),
        said("0x2004 is no place for its table: it is no multiple of 8")
    );
    assert_eq!(
        at(table, place(1, 0)),
        said("the function has no BAR 1 for its pending bits")
    );
    assert_eq!(
        at(place(0, 0x3c08), pending),
        said("BAR 0 has no room for its table at 0x3c08")
    );
    assert_eq!(
        at(table, place(0, 0x23f8)),
        said("its table and its pending bits overlap")
    );
    let taken = with(|identity| {
        identity.bars.push(Bar::registers(2, 16));
        identity.msix = Some(Msix::new(1));
    });
    let why = MsixError::Taken;
    assert_eq!(taken, Err(IdentityError::Msix { why }));
}

#[test]
fn capabilities_are_refused_that_the_list_cannot_have() {
    assert_eq!(capability(Capability::vendor(b"mine")), Ok(()));
    assert_eq!(capability(Capability::standard(0x03, [0; 6])), Ok(()));
    assert_eq!(capability(Capability::extended(0x03, [0; 8])), Ok(()));
    for ours in [0x01, 0x05, 0x10, 0x11] {
        let wrong = Capability::standard(ours, [0; 6]);
        assert_eq!(capability(wrong), Err(CapabilityError::Ours));
    }
    let none = Capability::standard(0, []);
    assert_eq!(capability(none), Err(CapabilityError::Identifier));
    let length = Capability::standard(0x09, [5, 0]);
    let wrong = CapabilityError::VendorLength { length: 4 };
    assert_eq!(capability(length), Err(wrong));
    let bits = Capability::standard(0x03, [0]).writable([1, 1]);
    assert_eq!(capability(bits), Err(CapabilityError::Writable));
    let refused = with(|identity| {
        identity.link = Link::Pci;
        identity.capabilities.push(Capability::extended(3, []));
    });
    let (id, why) = (3, CapabilityError::NotExpress);
    assert_eq!(refused, Err(IdentityError::Capability { id, why }));
}

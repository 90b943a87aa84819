"""What the chip's numbers are called, for people."""

from typing import Final

from warifu.chip import apdu, layout, staging
from warifu.chip.reading import STATUS_TAG

APPLETS: Final[dict[bytes, str]] = {
    layout.ISD: "issuer domain",
    layout.JPKI: "JPKI applet",
    layout.FACE: "face applet",
    layout.TEXT: "text applet",
    layout.JUKI: "juki applet",
    layout.COMMON: "common applet",
}

FILES: Final[dict[tuple[bytes, int], str]] = {
    (layout.JPKI, layout.SIGNATURE_CERTIFICATE): "signature certificate",
    (layout.JPKI, layout.SIGNATURE_CA_CERTIFICATE): "signature CA certificate",
    (layout.JPKI, layout.TOKEN_INFO): "token info",
    (layout.JPKI, layout.CERTIFICATE_AVAILABILITY): "certificate availability",
    (layout.JPKI, layout.AUTHENTICATION_CERTIFICATE): "authentication certificate",
    (layout.JPKI, layout.AUTHENTICATION_CA_CERTIFICATE): "authentication CA certificate",
    (layout.JPKI, layout.AUTHENTICATION_KEY): "authentication key",
    (layout.JPKI, layout.AUTHENTICATION_PIN): "authentication PIN",
    (layout.JPKI, layout.SIGNATURE_KEY): "signature key",
    (layout.JPKI, layout.SIGNATURE_PIN): "signature password",
    (layout.TEXT, 0x0001): "individual number",
    (layout.TEXT, 0x0002): "name, address, birth and sex",
    (layout.TEXT, 0x0003): "signature over number and attributes",
    (layout.TEXT, 0x0004): "card-verifiable certificate",
    (layout.TEXT, 0x0005): "basic information",
    (layout.TEXT, layout.TEXT_PIN): "text PIN",
    (layout.TEXT, layout.TEXT_NUMBER_A): "verification number A",
    (layout.TEXT, layout.TEXT_NUMBER_B): "verification number B",
    (layout.FACE, 0x0001): "age record",
    (layout.FACE, 0x0002): "face: name, address, photo",
    (layout.FACE, 0x0003): "basic information",
    (layout.FACE, 0x0004): "card-verifiable certificate",
    (layout.FACE, 0x0005): "picture of the individual number",
    (layout.FACE, layout.FACE_BIRTH): "birth key",
    (layout.FACE, layout.FACE_NUMBER_B): "verification number B",
    (layout.FACE, layout.FACE_NUMBER_A): "verification number A",
    (layout.JUKI, 0x0002): "key identifier",
    (layout.JUKI, layout.JUKI_RESIDENT_CODE): "resident record code",
    (layout.JUKI, layout.JUKI_PARTICULARS): "appended particulars",
    (layout.JUKI, layout.JUKI_PIN): "juki PIN",
    (layout.COMMON, layout.COMMON_RECORD): "card id, municipality, expiry",
    (layout.COMMON, 0x0002): "key identifier",
    (layout.COMMON, layout.COMMON_CARD_CERTIFICATE): "card certificate",
    (layout.COMMON, layout.COMMON_CARD_KEY): "card key",
    (layout.COMMON, layout.COMMON_PIN): "juki PIN, second place",
}
"""Files, PINs and keys, by applet and file id."""

DATA_OBJECTS: Final[dict[int, str]] = {
    0x0042: "issuer identification",
    0x0045: "card id",
    0x0066: "card recognition data",
    0x00F0: "municipality",
    0x00F2: "expiry",
    0x5F51: "answer to reset",
    0x7F21: "card-verifiable certificate",
    0x00F7: "card-verifiable certificate of the issuer",
    0x00F8: "card-verifiable certificate",
    STATUS_TAG: "card status",
}

INSTRUCTIONS: Final[dict[tuple[int, int], str]] = {
    (0x00, 0x84): "GET CHALLENGE",
    (0x00, 0x88): "INTERNAL AUTHENTICATE: prove the card",
    (0x80, 0x50): "INITIALIZE UPDATE: begin a channel",
    (0x80, 0xA2): "SET PUBLIC IC KEY",
    (0x80, 0xAE): "SET SESSION KEY",
    (0x84, 0x82): "EXTERNAL AUTHENTICATE: open the channel",
}

CHANNEL_COMMANDS: Final[dict[int, str]] = {
    staging.BEGIN: "BEGIN a card write",
    staging.PUT_EF: "PUT EF",
    staging.COMMIT: "COMMIT the card write",
    staging.ROLLBACK: "ROLLBACK the card write",
    staging.PUT_KEY_PAIR: "PUT KEY PAIR",
    staging.OPEN_PIN_WINDOW: "OPEN PIN WINDOW",
    staging.CLOSE_PIN_WINDOWS: "CLOSE PIN WINDOWS",
    staging.SET_LIFE_STATE: "SET LIFE STATE",
    staging.SET_CERTIFICATE_AVAILABILITY: "SET CERTIFICATE AVAILABILITY",
    staging.SET_VERIFICATION_NUMBER: "SET VERIFICATION NUMBER",
    staging.APPEND_PARTICULARS: "APPEND PARTICULARS",
}

STATUS_WORDS: Final[dict[int, str]] = {
    apdu.AUTHENTICATION_FAILED: "authentication failed",
    apdu.WRONG_LENGTH: "wrong length",
    apdu.STRUCTURE_CONFLICT: "not a file of this kind",
    apdu.SECURITY_STATUS: "a PIN or channel is missing",
    apdu.BLOCKED: "blocked, or never set",
    apdu.CONDITIONS: "not in this state of the card",
    apdu.NO_CURRENT_EF: "no file is selected",
    apdu.SECURE_MESSAGING: "secured data is wrong",
    apdu.DIGEST_DIFFERS: "the script is not the one announced",
    apdu.OTHER_WRITE_OPEN: "another card write is open",
    apdu.WRITE_SETTLED: "that card write ended before",
    apdu.WRONG_DATA: "wrong data",
    apdu.NOT_SUPPORTED: "not supported",
    apdu.NOT_FOUND: "not found",
    apdu.NO_RECORD: "no such record",
    apdu.NO_SPACE: "no space",
    apdu.WRONG_P1P2: "wrong P1 or P2",
    apdu.NO_REFERENCE: "no such key or object",
    apdu.WRONG_OFFSET: "behind the end of the file",
    apdu.UNKNOWN_INS: "unknown command",
    apdu.UNKNOWN_CLA: "unknown class",
    0x6F00: "the card failed",
}

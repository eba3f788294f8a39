// A link that logs in is used by the browser that shows it, at once; a preview of the address runs no script.
document.querySelector("form[data-send]")?.requestSubmit();

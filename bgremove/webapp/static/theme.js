// Before anything is drawn: the theme that was chosen here before. A classic script, so that nothing flashes.
(function () {
	try {
		var theme = localStorage.getItem("bgremove-theme");
		if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
	} catch (error) {
		// Storage is blocked, as in a notebook's frame: the system's theme it is.
	}
})();

"""The checks of `memguard doctor`: each looks at one thing of this machine and says ok, note or problem."""

// Package rules is a package of the plugin's own.
package rules

// Third gives the third of some numbers.
func Third(numbers []int) int { return numbers[2] }
